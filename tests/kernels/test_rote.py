"""RoTE against the definition in float64, in plain torch and in Triton, and against transformers' float32 tables."""

import math

import pytest
import torch
from torch import Tensor
from transformers.models.musicflamingo.modeling_musicflamingo import apply_rotary_time_emb

from music_flamingo.kernels import triton_device
from music_flamingo.kernels.rote import RoTE, rotate
from tests.builders import hf_model

FRAMES = 750
SHAPES = [(1, 1, 2, 4), (3, 7, 9, 23), (2, 50, 16, 32), (2, 9, 300, 605)]
"""Windows, frames, dim and width; of the last, an axis is wider than a tile."""


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


def turned(hidden: Tensor, windows: Tensor, rote: RoTE) -> Tensor:
    """The definition in float64: neighbouring channels are a pair."""
    angles, last = true_angles(rote, windows, hidden.shape[1]), 4 * rote.num_pairs
    even, odd = hidden[..., 0:last:2].double(), hidden[..., 1:last:2].double()
    pairs = [even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()]
    return torch.cat([torch.stack(pairs, -1).flatten(2), hidden[..., last:].double()], -1)


def test_frames_turn_right_at_every_time_up_to_twenty_minutes(device: torch.device) -> None:
    rote, windows = RoTE(dim=256), torch.tensor([0, 1, 39])
    hidden = torch.tensor([1.0, 0.0]).repeat(len(windows), FRAMES, 256)
    rotated = rotate(hidden.to(device), windows.to(device), rote)
    assert float((rotated.cpu() - turned(hidden, windows, rote)).abs().max()) <= 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_turn_in_pairs_and_the_rest_stays(device: torch.device, shape: tuple[int, int, int, int]) -> None:
    num_windows, num_frames, dim, width = shape
    rote, windows = RoTE(dim), torch.arange(num_windows) * 13
    hidden = torch.randn(num_windows, num_frames, width)
    rotated = rotate(hidden.to(device), windows.to(device), rote).cpu()
    torch.testing.assert_close(rotated, turned(hidden, windows, rote).float(), rtol=0, atol=1e-5)
    assert torch.equal(rotated[..., 4 * rote.num_pairs :], hidden[..., 4 * rote.num_pairs :])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_the_definitions(device: torch.device, shape: tuple[int, int, int, int]) -> None:
    num_windows, num_frames, dim, width = shape
    rote, windows = RoTE(dim), torch.arange(num_windows) * 19 + 1
    weights = torch.randn(num_windows, num_frames, width)
    true = torch.randn(weights.shape, dtype=torch.float64, requires_grad=True)
    (turned(true, windows, rote) * weights).sum().backward()
    hidden = true.detach().float().to(device).requires_grad_()
    (rotate(hidden, windows.to(device), rote) * weights.to(device)).sum().backward()
    assert hidden.grad is not None
    assert true.grad is not None
    torch.testing.assert_close(hidden.grad.cpu(), true.grad.float(), rtol=0, atol=1e-5)


def test_in_place_is_the_same_and_refuses_what_needs_a_gradient(device: torch.device) -> None:
    rote, windows = RoTE(dim=8), torch.tensor([3, 4], device=device)
    hidden = torch.randn(2, 6, 18, device=device)
    expected = rotate(hidden, windows, rote)
    assert rotate(hidden, windows, rote, in_place=True) is hidden
    assert torch.equal(hidden, expected)
    with pytest.raises(ValueError, match="in_place overwrites"):
        rotate(hidden.requires_grad_(), windows, rote, in_place=True)


def test_frames_may_lie_in_memory_as_they_like(device: torch.device) -> None:
    rote, windows = RoTE(dim=6), torch.tensor([[5, 0], [2, 0]], dtype=torch.int32, device=device)[:, 0]
    hidden = torch.randn(2, 11, 14, device=device)
    expected = rotate(hidden, windows, rote)
    by_channel = hidden.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(rotate(by_channel, windows, rote, in_place=True), expected)
    every_other = torch.stack([hidden, hidden], 2).flatten(1, 2)
    rotate(every_other[:, ::2], windows, rote, in_place=True)
    assert torch.equal(every_other[:, ::2], expected)
    assert torch.equal(every_other[:, 1::2], hidden)


def test_the_start_of_a_song_stays_as_it_is(device: torch.device) -> None:
    hidden = torch.randn(1, 1, 16, device=device)
    assert torch.equal(rotate(hidden, torch.tensor([0], device=device), RoTE(dim=8)), hidden)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(device: torch.device, dtype: torch.dtype) -> None:
    rote, windows = RoTE(dim=8), torch.tensor([39], device=device)
    hidden = torch.randn(1, 20, 16, device=device).to(dtype)
    if dtype == torch.bfloat16 and device.type == "cpu" and triton_device.runs_triton(hidden):
        pytest.skip("Triton's interpreter cuts bfloat16 off instead of rounding it")
    assert torch.equal(rotate(hidden, windows, rote), rotate(hidden.float(), windows, rote).to(dtype))


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 2**-22), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_triton_turns_as_torch_does(
    triton_path: torch.device, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, unit: float
) -> None:
    rote, windows = RoTE(dim=300), torch.tensor([39, 0, 1], device=triton_path)
    hidden = torch.randn(3, 10, 605, device=triton_path).to(dtype)
    rotated = rotate(hidden, windows, rote)
    monkeypatch.setattr(triton_device, "DEVICE_TYPES", ())
    torch.testing.assert_close(rotated, rotate(hidden, windows, rote), rtol=unit, atol=1e-6)


@pytest.mark.parametrize(
    ("hidden", "windows", "message"),
    [
        (torch.zeros(2, 3, 15), torch.arange(2), r"at least 16\) .* got \(2, 3, 15\) and \(2,\)"),
        (torch.zeros(2, 3, 16), torch.arange(3), r"got \(2, 3, 16\) and \(3,\)"),
        (torch.zeros(3, 16), torch.arange(3), r"got \(3, 16\) and \(3,\)"),
        (torch.zeros(2, 3, 16), torch.arange(2, device="meta"), "hidden is on cpu, windows are on meta"),
    ],
)
def test_what_does_not_fit_is_refused(hidden: Tensor, windows: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotate(hidden, windows, RoTE(dim=8))


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
