"""Wrong values that are plausible: for options, for false claims and for a machine's mistakes.

Options must not betray the right one by their looks: where all resemble one of them, nobody needs to listen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from music_flamingo.corpora.songbook import vocabulary

BPM_RATIO = 1.12
"""Two tempi in one list of options differ at least by this factor."""

SECONDS_GAP = 2
"""Two whole seconds in one list of options differ by this much: 1.5 s or more from the unrounded truth."""

# Clips enter and change by these seconds; later ones, in full pieces, hide among times up to twice as late.
_LATEST_SECOND = {"entry_time": 7, "change_time": 9}

# A claim that there is no change is as often wrong as right, though four clips in ten have none.
_WEIGHTS = {("change", "none"): 4}

CLOSED_VALUES: dict[str, tuple[str, ...]] = {
    "first_instrument": vocabulary.INSTRUMENTS,
    "last_instrument": vocabulary.INSTRUMENTS,
    "drums": vocabulary.DRUMS,
    "texture": vocabulary.TEXTURES,
    "tempo": vocabulary.TEMPI,
    "change": ("none", *vocabulary.CHANGES),
    "meter": vocabulary.METERS,
    "tonic": vocabulary.TONICS,
    "mode": vocabulary.MODES,
    "chord": vocabulary.KEYS,
    "dance": vocabulary.DANCES,
    "genre": (*vocabulary.TRADITIONS, *vocabulary.DANCES),
}


def wrong_values(field: str, value: str, count: int, rng: random.Random, *, preferred: Sequence[str] = ()) -> list[str]:
    """Distinct wrong values of a field, each differing from `value` by more than a fair tolerance.

    Args:
        field: a key of `CLOSED_VALUES`, or bpm, entry_time, change_time, key, instruments, sections.
        value: the right one.
        count: how many, 1 to 3; fewer come back where the field has fewer values.
        rng: where the choice comes from.
        preferred: confusable values to take first, for fields of closed lists.
    """
    if field in CLOSED_VALUES:
        return _closed(field, value, count, rng, preferred)
    return _OPEN_VALUES[field](field, value, count, rng)


def _closed(field: str, value: str, count: int, rng: random.Random, preferred: Sequence[str]) -> list[str]:
    values = CLOSED_VALUES[field]
    first = [name for name in preferred if name in values and name != value][:count]
    rest = [name for name in values if name != value and name not in first]
    if count == 1 and not first:
        return rng.choices(rest, [_WEIGHTS.get((field, name), 1) for name in rest])
    return first + rng.sample(rest, min(count - len(first), len(rest)))


def _tempi(_: str, value: str, count: int, rng: random.Random) -> list[str]:
    return _spaced(list(vocabulary.BPM_RANGE), int(value), count, rng, lambda a, b: max(a, b) >= BPM_RATIO * min(a, b))


def _times(field: str, value: str, count: int, rng: random.Random) -> list[str]:
    latest = _LATEST_SECOND[field] if int(value) <= _LATEST_SECOND[field] else 2 * int(value)
    return _spaced(list(range(1, latest + 1)), int(value), count, rng, lambda a, b: abs(a - b) >= SECONDS_GAP)


def _spaced(
    candidates: list[int], value: int, count: int, rng: random.Random, apart: Callable[[int, int], bool]
) -> list[str]:
    """Random candidates, each apart from `value` and from one another."""
    chosen: list[int] = []
    for candidate in rng.sample(candidates, len(candidates)):
        if len(chosen) < count and all(apart(candidate, other) for other in [value, *chosen]):
            chosen.append(candidate)
    return [str(number) for number in chosen]


def _instrument_sets(_: str, value: str, count: int, rng: random.Random) -> list[str]:
    """Lists as long as `value`, with another first, another last, or both: each looks equally right."""
    instruments = value.split(", ")
    others = [name for name in vocabulary.INSTRUMENTS if name not in instruments]
    if len(instruments) == 1:
        return rng.sample(others, count)
    first, last = rng.sample(others, 2)
    inner = instruments[1:-1]
    wrong = [[first, *inner, instruments[-1]], [instruments[0], *inner, last], [first, *inner, last]]
    return [", ".join(names) for names in rng.sample(wrong, min(count, len(wrong)))]


def _keys(_: str, value: str, count: int, rng: random.Random) -> list[str]:
    """The parallel key, another key and its parallel: of two such pairs neither looks the right one."""
    parallel = _parallel(value)
    if count == 1:
        return [rng.choice([key for key in vocabulary.KEYS if key != value])]
    other = rng.choice([key for key in vocabulary.KEYS if key not in (value, parallel)])
    return [parallel, other, _parallel(other)][:count]


def _parallel(key: str) -> str:
    tonic, mode = key.split()
    return f"{tonic} {'minor' if mode == 'major' else 'major'}"


def _section_orders(_: str, value: str, count: int, rng: random.Random) -> list[str]:
    """Orders of as many sections as `value` has, no section followed by its like."""
    length = len(value.split(", "))
    num_orders = len(vocabulary.TEXTURES) * (len(vocabulary.TEXTURES) - 1) ** (length - 1)
    chosen: list[str] = []
    while len(chosen) < min(count, num_orders - 1):
        order = [rng.choice(vocabulary.TEXTURES)]
        while len(order) < length:
            order.append(rng.choice([name for name in vocabulary.TEXTURES if name != order[-1]]))
        if ", ".join(order) not in (value, *chosen):
            chosen.append(", ".join(order))
    return chosen


_OPEN_VALUES: dict[str, Callable[[str, str, int, random.Random], list[str]]] = {
    "bpm": _tempi,
    "entry_time": _times,
    "change_time": _times,
    "key": _keys,
    "instruments": _instrument_sets,
    "sections": _section_orders,
}
