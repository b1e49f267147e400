"""Rotary embedding against its definition in float64 and against transformers, in plain torch and in Triton."""

import math

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

from music_flamingo.kernels import triton_device
from music_flamingo.kernels.rotary import rotate_heads

QWEN2_THETA = 1e6
SHAPES = [(1, 1, 2), (3, 5, 6), (9, 37, 10), (2, 3, 144)]


def definition(heads: Tensor, positions: Tensor, theta: float) -> Tensor:
    """In float64: channels k and k + D / 2 turn by p * theta ** (-2 k / D)."""
    width = heads.shape[-1]
    angles = positions.double()[:, None] * theta ** (-2 * torch.arange(width // 2).double() / width)
    first, second = heads.double().chunk(2, -1)
    return torch.cat([first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], -1)


def positions_of(num_tokens: int) -> Tensor:
    return torch.arange(num_tokens) * 811


def test_four_channels_by_hand(device: torch.device) -> None:
    heads = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 2.0]]], device=device)
    rotated = rotate_heads(heads, torch.tensor([3, 5], device=device), theta=100.0)
    sin, cos = math.sin, math.cos
    expected = [
        [cos(3), cos(0.3), sin(3), sin(0.3)],
        [-sin(5), 2 * cos(0.5) - 2 * sin(0.5), cos(5), 2 * sin(0.5) + 2 * cos(0.5)],
    ]
    torch.testing.assert_close(rotated.cpu(), torch.tensor([expected]), rtol=0, atol=2e-6)


def test_transformers_turns_alike_while_float32_holds_its_angles(device: torch.device) -> None:
    config = Qwen2Config(
        hidden_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": QWEN2_THETA},
    )
    query, key, positions = torch.randn(4, 20, 12), torch.randn(2, 20, 12), torch.arange(20)
    cos, sin = Qwen2RotaryEmbedding(config)(query, positions[None])
    expected = apply_rotary_pos_emb(query[None], key[None], cos, sin)
    for heads, turned in zip((query, key), expected, strict=True):
        rotated = rotate_heads(heads.to(device), positions.to(device), QWEN2_THETA)
        torch.testing.assert_close(rotated.cpu(), turned[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("last", [30_000, 2**24])
def test_tokens_turn_right_wherever_they_stand(device: torch.device, last: int) -> None:
    positions = torch.cat([torch.tensor([0, 1]), torch.arange(last - 100, last + 1)])
    heads = torch.cat([torch.ones(1, len(positions), 64), torch.zeros(1, len(positions), 64)], -1)
    rotated = rotate_heads(heads.to(device), positions.to(device), QWEN2_THETA)
    assert float((rotated.cpu() - definition(heads, positions, QWEN2_THETA)).abs().max()) <= 1e-6


def test_the_largest_32_bit_position_loses_nothing(device: torch.device) -> None:
    last = 2**31 - 1
    heads = torch.tensor([[[1.0, 0.0]]], device=device)
    rotated = rotate_heads(heads, torch.tensor([last], dtype=torch.int32, device=device), QWEN2_THETA)
    torch.testing.assert_close(rotated.cpu(), torch.tensor([[[math.cos(last), math.sin(last)]]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradient_are_the_definitions(device: torch.device, shape: tuple[int, int, int]) -> None:
    positions, weights = positions_of(shape[1]), torch.randn(shape)
    heads = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = definition(heads, positions, QWEN2_THETA)
    (expected * weights).sum().backward()
    ours = heads.detach().float().to(device).requires_grad_()
    rotated = rotate_heads(ours, positions.to(device), QWEN2_THETA)
    (rotated * weights.to(device)).sum().backward()
    assert heads.grad is not None
    assert ours.grad is not None
    torch.testing.assert_close(rotated.detach().cpu(), expected.detach().float(), rtol=0, atol=5e-6)
    torch.testing.assert_close(ours.grad.cpu(), heads.grad.float(), rtol=0, atol=5e-6)


def test_heads_may_lie_in_memory_as_they_like(device: torch.device) -> None:
    positions = positions_of(7).to(device)
    heads = torch.randn(3, 7, 6, device=device)
    expected = rotate_heads(heads, positions, QWEN2_THETA)
    by_token = heads.transpose(0, 1).contiguous().transpose(0, 1)
    by_channel = heads.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    for laid_out in (by_token, by_channel):
        assert torch.equal(rotate_heads(laid_out, positions, QWEN2_THETA), expected)
    sparse = torch.stack([positions, positions], 1)[:, 0]
    assert torch.equal(rotate_heads(heads, sparse, QWEN2_THETA), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(device: torch.device, dtype: torch.dtype) -> None:
    heads, positions = torch.randn(2, 9, 8, device=device).to(dtype), positions_of(9).to(device)
    if dtype == torch.bfloat16 and device.type == "cpu" and triton_device.runs_triton(heads):
        pytest.skip("Triton's interpreter cuts bfloat16 off instead of rounding it")
    rotated = rotate_heads(heads, positions, QWEN2_THETA)
    assert rotated.dtype == dtype
    assert torch.equal(rotated, rotate_heads(heads.float(), positions, QWEN2_THETA).to(dtype))


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 2**-22), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_triton_turns_as_torch_does(
    triton_path: torch.device, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, unit: float
) -> None:
    heads, positions = torch.randn(9, 21, 10, device=triton_path).to(dtype), positions_of(21).to(triton_path)
    rotated = rotate_heads(heads, positions, QWEN2_THETA)
    assert rotated.transpose(0, 1).is_contiguous()  # as varlen attention reads it
    monkeypatch.setattr(triton_device, "DEVICE_TYPES", ())
    torch.testing.assert_close(rotated, rotate_heads(heads, positions, QWEN2_THETA), rtol=unit, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "positions", "message"),
    [
        ((2, 3, 4), torch.arange(2), "expected heads"),
        ((3, 4), torch.arange(3), "expected heads"),
        ((2, 3, 5), torch.arange(3), "even D"),
        ((2, 3, 4), torch.arange(3)[None], "expected heads"),
        ((2, 3, 4), torch.arange(3.0), "expected integer positions, got torch.float32"),
        ((2, 3, 4), torch.arange(3, device="meta"), "heads are on cpu, positions are on meta"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], positions: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotate_heads(torch.zeros(shape), positions, QWEN2_THETA)
