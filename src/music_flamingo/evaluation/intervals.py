"""How far a score may be off: 95 % intervals that know that clips of one piece are alike."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean and its interval.

    Attributes:
        mean: mean of the values.
        low: lower bound; NaN where the bounds cannot be known (fewer than two pieces).
        high: upper bound.
        num_values: values averaged.
        num_pieces: independent pieces among them.
    """

    mean: float
    low: float
    high: float
    num_values: int
    num_pieces: int


@dataclass(frozen=True)
class Bootstrap:
    """How an interval is drawn.

    Attributes:
        confidence: share of intervals that hold the truth.
        num_resamples: draws of as many pieces as there are, with replacement.
        seed: equal seeds give equal intervals.
    """

    confidence: float = 0.95
    num_resamples: int = 2000
    seed: int = 0


def bootstrap_interval(
    values: Sequence[float], pieces: Sequence[Hashable], bootstrap: Bootstrap | None = None
) -> Interval:
    """Percentile interval of a mean, resampling whole pieces, whose clips are alike.

    Args:
        values: one score per row.
        pieces: the piece each row belongs to.
        bootstrap: how to draw; None means 95 %, 2000 draws, seed 0.

    Raises:
        ValueError: no values, unequal lengths, or values that are not finite.
    """
    sums, counts = _sums_by_piece(values, pieces)
    return _interval(sums, counts, len(values), bootstrap or Bootstrap())


def rate_interval(
    errors: Sequence[float], lengths: Sequence[int], pieces: Sequence[Hashable], bootstrap: Bootstrap | None = None
) -> Interval:
    """Percentile interval of a sum of errors over a sum of lengths, resampling whole pieces.

    Args:
        errors: of each row.
        lengths: of each row; of the rows of a piece at least one is above 0.
        pieces: the piece each row belongs to.
        bootstrap: as in `bootstrap_interval`.

    Raises:
        ValueError: as in `bootstrap_interval`.
    """
    sums, _ = _sums_by_piece(errors, pieces)
    sizes, _ = _sums_by_piece(lengths, pieces)
    return _interval(sums, sizes, len(errors), bootstrap or Bootstrap())


def paired_difference_interval(
    values: Sequence[float],
    baseline: Sequence[float],
    pieces: Sequence[Hashable],
    bootstrap: Bootstrap | None = None,
) -> Interval:
    """Interval of the mean of `values` minus that of `baseline`, row by row on the same questions.

    Args:
        values: one score per row.
        baseline: the other system's score on the same row.
        pieces: the piece each row belongs to.
        bootstrap: as in `bootstrap_interval`.

    Raises:
        ValueError: as in `bootstrap_interval`.
    """
    if len(values) != len(baseline):
        raise ValueError(f"paired scores must be as many: got {len(values)} and {len(baseline)}")
    differences = [value - other for value, other in zip(values, baseline, strict=True)]
    return bootstrap_interval(differences, pieces, bootstrap)


def wilson_interval(num_correct: int, num_total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share, for answers that are independent of each other.

    Args:
        num_correct: right answers, 0 .. num_total.
        num_total: all answers, at least one.
        confidence: share of intervals that hold the truth.

    Raises:
        ValueError: counts that are impossible.

    Source: Wilson 1927, Journal of the American Statistical Association 22, 209-212.
    """
    if num_total < 1 or not 0 <= num_correct <= num_total:
        raise ValueError(f"expected 0 <= num_correct <= num_total >= 1, got {num_correct}, {num_total}")
    z_squared = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    share = num_correct / num_total
    centre = (share + z_squared / (2 * num_total)) / (1 + z_squared / num_total)
    spread = math.sqrt(share * (1 - share) / num_total + z_squared / (4 * num_total**2))
    half_width = math.sqrt(z_squared) * spread / (1 + z_squared / num_total)
    return Interval(share, max(0.0, centre - half_width), min(1.0, centre + half_width), num_total, num_total)


def _interval(sums: NDArray[np.float64], counts: NDArray[Any], num_values: int, bootstrap: Bootstrap) -> Interval:
    """Of the ratio of two sums, given those of each piece."""
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:  # noqa: PLR2004
        return Interval(mean, math.nan, math.nan, num_values, len(sums))
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(list(_resampled_means(sums, counts, bootstrap)), [tail, 1 - tail])
    return Interval(mean, float(low), float(high), num_values, len(sums))


def _sums_by_piece(
    values: Sequence[float], pieces: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the values of each piece, in order of first appearance."""
    if not len(values) or len(values) != len(pieces):
        raise ValueError(f"expected one piece per value, not none: got {len(values)} and {len(pieces)}")
    scores = np.asarray(values, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("values must be finite: leave abstentions out before averaging")
    order = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    index = np.asarray([order[piece] for piece in pieces])
    sums = np.bincount(index, weights=scores).astype(np.float64)
    return sums, np.bincount(index).astype(np.int64)


def _resampled_means(sums: NDArray[np.float64], counts: NDArray[Any], bootstrap: Bootstrap) -> Iterator[float]:
    rng = np.random.default_rng(bootstrap.seed)
    for _ in range(bootstrap.num_resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        yield float(sums[drawn].sum() / counts[drawn].sum())
