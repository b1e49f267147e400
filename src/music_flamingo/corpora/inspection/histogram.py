"""How values are spread: round bins for numbers, the most frequent for words."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_STEPS = (1, 2, 2.5, 5, 10)
OTHERS = "others"


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Number, sum, smallest, median, 95th percentile and largest of the values; no values, no numbers."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    return {
        "n": len(ordered),
        "sum": math.fsum(ordered),
        "min": ordered[0],
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)],
        "max": ordered[-1],
    }


def histogram(values: Sequence[float], most_bins: int = 12) -> list[dict[str, float]]:
    """Counts in at most `most_bins` bins of a round width, from `from` (inclusive) to `to`."""
    if not values:
        return []
    low, high = min(values), max(values)
    width = round_width((high - low) / (most_bins - 1))
    first = math.floor(low / width)
    counts = Counter(math.floor(value / width) - first for value in values)
    return [
        {"from": (first + number) * width, "to": (first + number + 1) * width, "count": counts[number]}
        for number in range(max(counts) + 1)
    ]


def round_width(width: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten, at least 1."""
    if width <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in _STEPS if step * power >= width * (1 - 1e-9))


def most_frequent(counts: Mapping[str, int], most: int = 12) -> dict[str, int]:
    """Counts by size; what does not fit is one sum, `others`."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= most:
        return dict(ordered)
    return {**dict(ordered[: most - 1]), OTHERS: sum(count for _, count in ordered[most - 1 :])}
