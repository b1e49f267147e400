"""Which plain triad sounds when."""

from collections.abc import Sequence

from music_flamingo.corpora.songbook.palette import TONICS

MIN_SECONDS = 0.4

_TRIADS = {
    frozenset((root + interval) % 12 for interval in intervals): f"{TONICS[root]} {mode}"
    for root in range(12)
    for mode, intervals in (("major", (0, 4, 7)), ("minor", (0, 3, 7)))
}


def drawn_triad(notes: Sequence[tuple[float, float, int]], fraction: float) -> dict[str, float | str] | None:
    """One of the stretches in which the sounding pitch classes are exactly a major or minor triad.

    Drawn among the names that sound: the longest of all is mostly the tonic's, and the key would tell it.

    Args:
        notes: (start, end, MIDI pitch), times in seconds.
        fraction: in [0, 1), which of the names.

    Returns:
        {"start": seconds, "name": "G major"}, the longest stretch of that name; None where no triad lasts
        MIN_SECONDS.
    """
    longest: dict[str, tuple[float, float]] = {}
    for start, end, name in _triads(notes):
        length = round(end - start, 6)
        if length >= MIN_SECONDS and length > longest.get(name, (0.0, 0.0))[0]:
            longest[name] = (length, start)
    if not longest:
        return None
    name = sorted(longest)[int(fraction * len(longest))]
    return {"start": round(longest[name][1], 3), "name": name}


def _triads(notes: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, str]]:
    """Stretches of one triad each, in time order."""
    turns = sorted(
        [(end, 0, pitch % 12) for _, end, pitch in notes] + [(start, 1, pitch % 12) for start, _, pitch in notes]
    )
    sounding = [0] * 12
    stretches: list[tuple[float, float, str]] = []
    for index, (time, is_onset, pitch_class) in enumerate(turns[:-1]):
        sounding[pitch_class] += 1 if is_onset else -1
        until = turns[index + 1][0]
        name = _TRIADS.get(frozenset(pc for pc, count in enumerate(sounding) if count)) if until > time else None
        if name is None:
            continue
        if stretches and stretches[-1][2] == name and stretches[-1][1] == time:
            stretches[-1] = (stretches[-1][0], until, name)
        else:
            stretches.append((time, until, name))
    return stretches
