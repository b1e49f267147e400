"""How long do devices wait for one another? For the longest song, and for the longest completion."""

import heapq
import random
from collections.abc import Callable, Sequence

STEPS = 16
"""Steps that are drawn: of the largest setting, thousands of songs."""


def song_lengths(number: int, rng: random.Random) -> list[int]:
    """Seconds of songs: half of them below three minutes, some as short as 10 s and as long as ten minutes."""
    return [min(600, max(10, round(rng.lognormvariate(5.193, 0.75)))) for _ in range(number)]


def waiting(cost: Callable[[int], float], devices: int, songs: int, *, balanced: bool) -> float:
    """What the busiest device has to do, over what the mean one has: mean of some steps.

    Args:
        cost: FLOPs of a song of so many seconds.
        devices: in all.
        songs: on each.
        balanced: whether songs are divided by FLOPs, as training does with data.max_flops, or as they come.
    """
    rng = random.Random(0)
    ratios = []
    for _ in range(STEPS):
        flops = [cost(seconds) for seconds in song_lengths(devices * songs, rng)]
        loads = longest_first(flops, devices) if balanced else _as_they_come(flops, songs)
        ratios.append(max(loads) * devices / sum(loads))
    return sum(ratios) / len(ratios)


def longest_completion(mean: float, most: int, completions: int) -> float:
    """Expected tokens of the longest of some completions, each of which ends after any token with equal chance.

    Args:
        mean: tokens of a completion that nothing cuts.
        most: tokens at which it is cut.
        completions: that are waited for.
    """
    goes_on = 1 - 1 / mean
    return sum(1 - (1 - goes_on**token) ** completions for token in range(most))


def longest_first(costs: Sequence[float], devices: int) -> list[float]:
    """Loads of devices: each cost, largest first, to the one with least; as `divide_over_ranks` without limits."""
    loads = [0.0] * devices
    for each in sorted(costs, reverse=True):
        heapq.heapreplace(loads, loads[0] + each)
    return loads


def _as_they_come(flops: Sequence[float], songs: int) -> list[float]:
    return [sum(flops[start : start + songs]) for start in range(0, len(flops), songs)]
