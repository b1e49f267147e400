"""RoTE against the definition in float64, and against transformers' tables within what float32 tables can hold."""

import math

import pytest
import torch
from torch import Tensor
from transformers.models.musicflamingo.modeling_musicflamingo import apply_rotary_time_emb

from music_flamingo.kernels.rote import RoTE, rotate
from tests.builders import hf_model

FRAMES = 750


def true_angles(rote: RoTE, windows: Tensor, num_frames: int) -> Tensor:
    """(W, F, 2 K) angles in float64, which still has seven digits behind the point at 30,000 radians."""
    window, frame = windows.double()[:, None, None], torch.arange(num_frames).double()[None, :, None]
    seconds = (window * num_frames + frame) * rote.tick
    frequency = rote.theta ** (-2 * torch.arange(rote.num_pairs).double() / rote.dim)
    by_window = seconds * window / rote.longest * frequency
    by_frame = 2 * math.pi * seconds * frame / rote.longest * frequency
    return -2 * math.pi * torch.cat([by_window, by_frame], -1)


def test_angles_are_right_at_every_time_up_to_twenty_minutes() -> None:
    rote, windows = RoTE(dim=256), torch.arange(40)
    angles, expected = rote.angles(windows, FRAMES), true_angles(rote, windows, FRAMES)
    assert angles.dtype == torch.float32
    assert float(angles.abs().max()) <= math.pi
    error = torch.polar(torch.ones(()).double(), angles.double()) - torch.polar(torch.ones(()).double(), expected)
    assert float(error.abs().max()) <= 1e-6


@pytest.mark.parametrize(("num_windows", "num_frames", "dim", "width"), [(1, 1, 2, 4), (3, 7, 9, 23), (2, 50, 16, 32)])
def test_channels_turn_in_pairs_and_the_rest_stays(num_windows: int, num_frames: int, dim: int, width: int) -> None:
    rote, windows = RoTE(dim), torch.arange(num_windows) * 13
    num_pairs = (dim + 1) // 2
    hidden = torch.randn(num_windows, num_frames, width, dtype=torch.float64)
    angles = true_angles(rote, windows, num_frames)
    expected = hidden.clone()
    even, odd = hidden[..., 0 : 4 * num_pairs : 2], hidden[..., 1 : 4 * num_pairs : 2]
    expected[..., 0 : 4 * num_pairs : 2] = even * angles.cos() - odd * angles.sin()
    expected[..., 1 : 4 * num_pairs : 2] = even * angles.sin() + odd * angles.cos()
    rotated = rotate(hidden.float(), windows, rote)
    torch.testing.assert_close(rotated, expected.float(), rtol=0, atol=1e-5)
    assert torch.equal(rotated[..., 4 * num_pairs :], hidden.float()[..., 4 * num_pairs :])


def test_the_gradient_turns_back() -> None:
    rote, windows = RoTE(dim=6), torch.tensor([0, 2])
    hidden = torch.randn(2, 5, 14, requires_grad=True)
    gradient = torch.randn(2, 5, 14)
    rotate(hidden, windows, rote).backward(gradient)
    assert hidden.grad is not None
    torch.testing.assert_close(rotate(hidden.grad, windows, rote), gradient, rtol=0, atol=1e-6)


def test_in_place_is_the_same_and_refuses_what_needs_a_gradient() -> None:
    rote, windows = RoTE(dim=8), torch.tensor([3, 4])
    hidden = torch.randn(2, 6, 18)
    expected = rotate(hidden, windows, rote)
    assert rotate(hidden, windows, rote, in_place=True) is hidden
    assert torch.equal(hidden, expected)
    with pytest.raises(ValueError, match="in_place overwrites"):
        rotate(hidden.requires_grad_(), windows, rote, in_place=True)


def test_the_start_of_a_song_stays_as_it_is() -> None:
    hidden = torch.randn(1, 1, 16)
    assert torch.equal(rotate(hidden, torch.tensor([0]), RoTE(dim=8)), hidden)


def test_bfloat16_is_rounded_once() -> None:
    rote, windows = RoTE(dim=8), torch.tensor([39])
    hidden = torch.randn(1, 20, 16).bfloat16()
    assert torch.equal(rotate(hidden, windows, rote), rotate(hidden.float(), windows, rote).bfloat16())


def test_transformers_tables_agree_while_float32_holds_their_turns() -> None:
    embedding = hf_model().model.pos_emb
    rote, frames = RoTE(dim=19), 250  # a fifth of the tiny model's 96 channels
    assert len(embedding.inv_freq) == rote.num_pairs
    seconds = torch.arange(2)[:, None] * frames * 0.04 + torch.arange(frames) * 0.04
    cos, sin = embedding(seconds, seq_len=frames)
    hidden = torch.randn(2, frames, 4 * rote.num_pairs + 2)
    expected = apply_rotary_time_emb(hidden, cos, sin)
    rotated = rotate(hidden, torch.arange(2), rote)
    torch.testing.assert_close(rotated, expected, rtol=0, atol=2e-3)
