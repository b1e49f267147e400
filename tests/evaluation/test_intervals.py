import math

import numpy as np
import pytest

from music_flamingo.evaluation.intervals import (
    Bootstrap,
    bootstrap_interval,
    paired_difference_interval,
    rate_interval,
    wilson_interval,
)


def test_the_mean_is_over_values_and_not_over_pieces() -> None:
    interval = bootstrap_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert (interval.mean, interval.num_values, interval.num_pieces) == (0.75, 4, 2)


def test_equal_values_leave_no_doubt() -> None:
    interval = bootstrap_interval([0.5] * 6, [0, 0, 1, 1, 2, 2])
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_one_value_per_piece_gives_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_interval(values.tolist(), range(400))
    half_width = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.01)


def test_repeating_a_piece_does_not_make_the_interval_narrower() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    once = bootstrap_interval(values, range(6))
    tenfold = bootstrap_interval(values * 10, list(range(6)) * 10)
    assert (tenfold.low, tenfold.high) == (once.low, once.high)


def test_equal_seeds_give_equal_intervals() -> None:
    values, pieces = [0.0, 1.0, 0.3, 0.9], "abcd"
    assert bootstrap_interval(values, pieces) == bootstrap_interval(values, pieces)
    assert bootstrap_interval(values, pieces, Bootstrap(seed=1)).mean == bootstrap_interval(values, pieces).mean


def test_more_confidence_needs_more_room() -> None:
    values = [float(value) for value in range(20)]
    wide, narrow = (bootstrap_interval(values, range(20), Bootstrap(confidence=share)) for share in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_a_single_piece_has_no_interval() -> None:
    interval = bootstrap_interval([1.0, 0.0], ["a", "a"])
    assert interval.mean == 0.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_a_constant_difference_is_certain_however_the_pieces_differ() -> None:
    baseline = [0.0, 0.2, 0.7, 0.4]
    interval = paired_difference_interval([value + 0.25 for value in baseline], baseline, ["a", "a", "b", "c"])
    assert interval.mean == pytest.approx(0.25)
    assert interval.low == pytest.approx(0.25)
    assert interval.high == pytest.approx(0.25)


def test_wilsons_interval_of_eight_out_of_ten() -> None:
    # By hand: z = 1.95996, centre (0.8 + z^2/20) / (1 + z^2/10) = 0.716740.
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_wilsons_interval_of_none_and_all_stays_within_zero_and_one() -> None:
    assert wilson_interval(0, 20).low == pytest.approx(0.0, abs=1e-12)
    assert wilson_interval(0, 20).high == pytest.approx(0.161125, abs=1e-6)
    assert wilson_interval(20, 20).high == 1.0


@pytest.mark.parametrize(("values", "pieces"), [([], []), ([1.0], ["a", "b"])])
def test_values_without_their_pieces_are_refused(values: list[float], pieces: list[str]) -> None:
    with pytest.raises(ValueError, match="expected one piece per value, not none"):
        bootstrap_interval(values, pieces)


def test_abstentions_must_be_left_out_before() -> None:
    with pytest.raises(ValueError, match="values must be finite: leave abstentions out"):
        bootstrap_interval([1.0, math.nan], ["a", "b"])


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="paired scores must be as many: got 2 and 1"):
        paired_difference_interval([1.0, 0.0], [1.0], ["a", "b"])


@pytest.mark.parametrize(("num_correct", "num_total"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(num_correct: int, num_total: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= num_correct <= num_total >= 1"):
        wilson_interval(num_correct, num_total)


def test_a_rate_is_errors_over_lengths_and_its_interval_draws_whole_pieces() -> None:
    """Ten errors in 100 words of one piece, none in 100 of the other: between 0 and 10 %, 5 % in the middle."""
    interval = rate_interval([10, 0, 0], [50, 50, 100], ["a", "a", "b"])
    assert (interval.mean, interval.num_values, interval.num_pieces) == (0.05, 3, 2)
    assert (interval.low, interval.high) == (0.0, 0.1)
    assert math.isnan(rate_interval([1], [4], ["a"]).low)
