"""Phases by hand: a turn is 2**64 units, and int64 holds half of them to either side."""

import math
from decimal import Decimal

import torch

from music_flamingo.kernels.phases import frequencies, phase_steps, radians


def test_whole_turns_drop_out_of_a_step() -> None:
    turns = [Decimal(turn) for turn in ("0.25", "-0.25", "7.25", "0.5", "-0.5", "0.75", "-3")]
    quarter = 2**62
    expected = [quarter, -quarter, quarter, -2 * quarter, -2 * quarter, -quarter, 0]
    assert phase_steps(turns, torch.device("cpu")).tolist() == expected


def test_a_phase_just_below_a_turn_is_the_smallest_step_back() -> None:
    assert phase_steps([1 - Decimal(2) ** -64], torch.device("cpu")).tolist() == [-1]


def test_phases_are_angles_of_at_most_half_a_turn() -> None:
    angles = radians(torch.tensor([0, 2**62, -(2**62), -(2**63), 2**40]))
    expected = [0.0, math.pi / 2, -math.pi / 2, -math.pi, 2 * math.pi / 2**24]
    torch.testing.assert_close(angles, torch.tensor(expected), rtol=1e-7, atol=0)


def test_frequencies_fall_from_one_by_equal_ratios() -> None:
    assert frequencies(100.0, 4, 2) == [1, Decimal("0.1")]
    assert [round(f, 9) for f in frequencies(8.0, 6, 3)] == [1, Decimal("0.5"), Decimal("0.25")]
