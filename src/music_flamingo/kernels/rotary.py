"""Rotary position embedding of a packed row's queries and keys, at positions that are whole numbers.

Of a head of D channels, channels k and k + D / 2 turn by p * theta ** (-2 k / D) radians at position p, which is
Qwen2's convention. Positions may be ticks of audio time as well as places in a row: angles are integer phases
(`phases`), so a token far into a song turns as exactly as the first one. What comes out is rotated already, as
flash-attn's and torch's varlen attention take it.

Source: RoFormer (arXiv:2104.09864), section 3.2; transformers' `apply_rotary_pos_emb`, for the order of channels.
"""

from functools import lru_cache, partial

import torch
from torch import Tensor

from music_flamingo.kernels.phases import TURN, Rotation, frequencies, phase_steps, radians
from music_flamingo.kernels.triton_device import HAS_TRITON, runs_triton

if HAS_TRITON:
    from music_flamingo.kernels.rotary_triton import turn_heads


def rotate_heads(heads: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotate queries, or keys, by their tokens' positions.

    Args:
        heads: (H, N, D).
        positions: (N,) integers; the rotation is right to 1e-6 up to 2**31.
        theta: base of the frequencies.

    Returns:
        (H, N, D) in the dtype of `heads`; the rotation itself is float32.

    Raises:
        ValueError: shapes do not fit, D is odd, positions are not integers, or devices differ.
    """
    if positions.dim() != 1 or positions.shape != heads.shape[1:-1] or heads.shape[-1] % 2:
        raise ValueError(
            "rotate_heads: expected heads (H, N, D) of an even D and positions (N,), "
            f"got {tuple(heads.shape)} and {tuple(positions.shape)}"
        )
    if positions.is_floating_point():
        raise ValueError(f"rotate_heads: expected integer positions, got {positions.dtype}")
    if positions.device != heads.device:
        raise ValueError(f"rotate_heads: heads are on {heads.device}, positions are on {positions.device}")
    turned = partial(_turned, positions, _steps(theta, heads.shape[2], heads.device))
    rotated: Tensor = Rotation.apply(heads, turned)  # type: ignore[no-untyped-call]
    return rotated


def _turned(positions: Tensor, steps: Tensor, heads: Tensor, direction: float) -> Tensor:
    """A rotated copy of (H, N, D)."""
    if runs_triton(heads):
        return turn_heads(heads, positions, steps, direction)
    angles = radians(positions.long()[:, None] * steps) * direction  # (N, D / 2)
    cos, sin = angles.cos(), angles.sin()
    first, second = heads.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(heads.dtype)


@lru_cache
def _steps(theta: float, width: int, device: torch.device) -> Tensor:
    """(D / 2,) int64 phases by which each pair of a head of D channels turns from one position to the next."""
    return phase_steps((frequency / TURN for frequency in frequencies(theta, width, width // 2)), device)
