"""A whole GRPO step on a song of ten minutes, measured once: the baseline alone takes six minutes."""

from collections.abc import Iterator

from benchmarks.claim import Claim
from benchmarks.speed.grpo_step import measure


def claims() -> Iterator[Claim]:
    """Time both ways."""
    yield measure(20, 5.0, repeats=1, warm_up=False)
