"""Scores as plain note lists: what is left of a music21 stream once everything we do not render is gone.

Repeats are not expanded, grace notes are skipped, of a chord the top note stays: every part is one line.
music21 is imported on first use, as that takes a quarter of a second, and never writes its pickled cache.
"""

import importlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from music_flamingo.corpora.songbook.catalogue import Candidate

Note = tuple[float, float, int]
"""Onset and duration in quarters, MIDI pitch."""

MIN_BARS = 4
_MAX_PARTS = 6
_FINGERPRINT_NOTES = 12


@dataclass(frozen=True)
class Piece:
    """A score in one meter and one key.

    Attributes:
        name, work, tradition, title, meter, mode, dance: as in `Candidate`.
        tonic: pitch class, C is 0.
        parts: highest first; each in time order, no two notes of a part overlap. Bars begin at multiples of
            `bar_quarters`; notes of an upbeat have negative onsets.
        bars: number of whole bars.
        bar_quarters: length of a bar.
    """

    name: str
    work: str
    tradition: str
    title: str
    meter: str
    mode: str
    dance: str | None
    tonic: int
    parts: tuple[tuple[Note, ...], ...]
    bars: int
    bar_quarters: float


def read_piece(candidate: Candidate) -> Piece | str:
    """Parse one score; where it cannot be used, the reason instead."""
    music21_error = importlib.import_module("music21.exceptions21").Music21Exception
    try:
        score = _parse(candidate)
    except (music21_error, ElementTree.ParseError, ValueError) as error:
        return f"music21 cannot read it ({type(error).__name__})"
    bar_quarters = _bar_quarters(candidate.meter)
    barlines = [Fraction(measure.offset) * candidate.scale for measure in _measures(score.parts[0])]
    upbeat = barlines[1] if len(barlines) > 1 and 0 < barlines[1] < bar_quarters else Fraction(0)
    if not _are_regular(barlines, upbeat, bar_quarters):
        return "irregular bars"
    parts = [part for part in (_part_notes(part, candidate.scale, upbeat) for part in score.parts) if part]
    reason = _unusable(parts, bar_quarters) or _wrong_key(score, candidate)
    if reason:
        return reason
    return _piece(candidate, parts, bar_quarters)


def tune_fingerprint(piece: Piece) -> tuple[int, ...]:
    """Intervals at the opening of the highest part: equal for a tune that stands in two books or two keys."""
    pitches = [pitch for _, _, pitch in piece.parts[0][: _FINGERPRINT_NOTES + 1]]
    return tuple(right - left for left, right in zip(pitches, pitches[1:], strict=False))


def gather_pieces(
    candidates: list[Candidate],
    quotas: dict[str, int],
    seed: int,
    read: Callable[[list[Candidate]], Iterable[Piece | str]],
    dropped: Counter[str],
) -> list[Piece]:
    """Parse as many candidates as the quotas need, spread evenly over mode and meter.

    Args:
        candidates: of all traditions.
        quotas: pieces wanted per tradition; fewer come back where the corpus has no more.
        seed: chooses among the candidates.
        read: maps `read_piece` over candidates, in order, perhaps in other processes.
        dropped: counts what was parsed in vain, by reason.
    """
    pieces: list[Piece] = []
    seen: set[tuple[int, ...]] = set()
    for tradition, quota in quotas.items():
        queue = _evenly(tradition, candidates, seed)
        kept = 0
        while kept < quota and queue:
            # Part of every batch is dropped; a larger batch keeps all processes busy.
            batch, queue = queue[: _batch_size(quota - kept)], queue[_batch_size(quota - kept) :]
            for result in read(batch):
                reason = _rejected(result, seen, kept >= quota)
                if reason:
                    dropped[reason] += 1
                elif isinstance(result, Piece):
                    seen.add(tune_fingerprint(result))
                    pieces.append(result)
                    kept += 1
    return pieces


def _batch_size(missing: int) -> int:
    return missing + (missing + 3) // 4


def _rejected(result: Piece | str, seen: set[tuple[int, ...]], is_enough: bool) -> str | None:
    if isinstance(result, str):
        return result
    if is_enough:
        return "not needed"
    return "same tune as another piece" if tune_fingerprint(result) in seen else None


def _evenly(tradition: str, candidates: list[Candidate], seed: int) -> list[Candidate]:
    """Candidates of a tradition, shuffled, taking mode and meter in turn."""
    groups: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.tradition == tradition:
            groups[candidate.mode, candidate.meter].append(candidate)
    rng = random.Random(f"{seed} {tradition}")
    for group in groups.values():
        rng.shuffle(group)
    rounds = max((len(group) for group in groups.values()), default=0)
    return [group[i] for i in range(rounds) for _, group in sorted(groups.items()) if i < len(group)]


def _parse(candidate: Candidate) -> Any:
    """music21's Score; its own entry points would write a pickled cache."""
    reader = importlib.import_module("music21.converter").Converter()
    if candidate.tune is None:
        reader.parseFileNoPickle(candidate.path)
    else:
        reader.parseData(candidate.tune, format="abc")
    return reader.stream


def _bar_quarters(meter: str) -> Fraction:
    return Fraction(meter) * 4


def _measures(part: Any) -> list[Any]:
    return list(part.getElementsByClass("Measure"))


def _are_regular(barlines: list[Fraction], upbeat: Fraction, bar_quarters: Fraction) -> bool:
    """Whether four fifths of the barlines stand where the meter puts them; a repeat may cut a bar in two."""
    on_grid = sum((barline - upbeat) % bar_quarters == 0 for barline in barlines[1:])
    return len(barlines) >= MIN_BARS and on_grid >= 0.8 * (len(barlines) - 1)


def _part_notes(part: Any, scale: Fraction, upbeat: Fraction) -> list[Note]:
    """One line: tied notes joined, no overlaps, onsets counted from the first whole bar."""
    notes: list[tuple[Fraction, Fraction, int]] = []
    for onset, length, pitch, is_tied in sorted(_elements(part)):
        if notes and is_tied and notes[-1][2] == pitch and notes[-1][0] + notes[-1][1] == onset:
            notes[-1] = (notes[-1][0], notes[-1][1] + length, pitch)
        elif not notes or onset > notes[-1][0]:
            _end_by(notes, onset)
            notes.append((onset, length, pitch))
        elif pitch > notes[-1][2]:
            notes[-1] = (onset, length, pitch)
    return [(float(onset * scale - upbeat), float(length * scale), pitch) for onset, length, pitch in notes]


def _end_by(notes: list[tuple[Fraction, Fraction, int]], onset: Fraction) -> None:
    """Shorten the last note so that it ends where the next begins."""
    if notes and notes[-1][0] + notes[-1][1] > onset:
        notes[-1] = (notes[-1][0], onset - notes[-1][0], notes[-1][2])


def _elements(part: Any) -> Iterator[tuple[Fraction, Fraction, int, bool]]:
    """Onset, length, top pitch and whether it continues a tie, for each note of non-zero length."""
    for element in part.flatten().notes:
        length = Fraction(element.duration.quarterLength)
        if length <= 0 or not element.pitches:
            continue
        is_tied = element.tie is not None and element.tie.type in {"stop", "continue"}
        yield Fraction(element.offset), length, max(pitch.midi for pitch in element.pitches), is_tied


def _unusable(parts: list[list[Note]], bar_quarters: Fraction) -> str | None:
    if not parts:
        return "no notes"
    if len(parts) > _MAX_PARTS:
        return f"more than {_MAX_PARTS} parts"
    return "too short" if max(part[-1][0] for part in parts) < MIN_BARS * bar_quarters else None


def _wrong_key(score: Any, candidate: Candidate) -> str | None:
    """Whether the key that music21 finds in the notes is another than the written one."""
    key = score.analyze("key")
    is_same = (key.tonic.pitchClass, key.mode) == (candidate.tonic, candidate.mode)
    return None if is_same else "key analysis disagrees"


def _piece(candidate: Candidate, parts: list[list[Note]], bar_quarters: Fraction) -> Piece:
    end = max(onset + length for part in parts for onset, length, _ in part)
    by_height = sorted(parts, key=lambda part: -sum(pitch for _, _, pitch in part) / len(part))
    return Piece(
        name=candidate.name,
        work=candidate.work,
        tradition=candidate.tradition,
        title=candidate.title,
        meter=candidate.meter,
        mode=candidate.mode,
        dance=candidate.dance,
        tonic=candidate.tonic,
        parts=tuple(tuple(part) for part in by_height),
        bars=-int(-end // float(bar_quarters)),
        bar_quarters=float(bar_quarters),
    )
