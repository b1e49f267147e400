"""Rotation of heads as a Triton kernel: a tile of tokens makes its angles once, in registers, for several heads.

The result is laid out by token, as varlen attention reads it. Reference: `rotary`, whose constants these are.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from music_flamingo.kernels.phases_triton import cos_and_sin

TILE_ANGLES, TILE_HEADS = 1024, 8


def turn_heads(heads: Tensor, positions: Tensor, steps: Tensor, direction: float) -> Tensor:
    """A rotated copy of (H, N, D), whose (N, H, D) is contiguous.

    Args:
        heads: (H, N, D) float32, bfloat16 or float16.
        positions: (N,) integers.
        steps: (D / 2,) int64, phases from one position to the next.
        direction: 1, or -1 to turn back.
    """
    num_heads, num_tokens, width = heads.shape
    turned = heads.new_empty(num_tokens, num_heads, width)
    heads = heads if heads.stride(2) == 1 else heads.contiguous()
    tile_pairs = triton.next_power_of_2(len(steps))
    tile_tokens = max(1, TILE_ANGLES // tile_pairs)
    grid = (triton.cdiv(num_tokens, tile_tokens), triton.cdiv(num_heads, TILE_HEADS))
    with torch.cuda.device_of(heads):
        _turn_kernel[grid](
            *(heads, turned, positions.contiguous(), steps),
            *(num_heads, num_tokens, len(steps)),
            *(*heads.stride()[:2], direction),
            TILE_HEADS=TILE_HEADS,
            TILE_TOKENS=tile_tokens,
            TILE_PAIRS=tile_pairs,
        )
    return turned.transpose(0, 1)


@triton.jit
def _turn_kernel(
    # pointers
    heads,
    turned,
    positions,
    steps,
    # sizes
    num_heads,
    num_tokens,
    num_pairs,
    # strides of heads, and 1.0 or -1.0
    stride_head,
    stride_token,
    direction,
    # the tile's shape, of which Triton wants powers of two
    TILE_HEADS: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    TILE_PAIRS: tl.constexpr,
):
    tokens = (tl.program_id(0) * TILE_TOKENS + tl.arange(0, TILE_TOKENS)).to(tl.int64)
    pairs = tl.arange(0, TILE_PAIRS)
    position = tl.load(positions + tokens, mask=tokens < num_tokens, other=0).to(tl.int64)
    step = tl.load(steps + pairs, mask=pairs < num_pairs, other=0)
    cos, sin = cos_and_sin(position[:, None] * step[None, :], direction)

    inside = (tokens < num_tokens)[:, None] & (pairs < num_pairs)[None, :]
    first_head = tl.program_id(1).to(tl.int64) * TILE_HEADS
    for head in range(first_head, tl.minimum(first_head + TILE_HEADS, num_heads)):
        read = heads + head * stride_head + tokens[:, None] * stride_token + pairs[None, :]
        first = tl.load(read, mask=inside).to(tl.float32)
        second = tl.load(read + num_pairs, mask=inside).to(tl.float32)
        write = turned + (tokens[:, None] * num_heads + head) * (2 * num_pairs) + pairs[None, :]
        tl.store(write, first * cos - second * sin, mask=inside)
        tl.store(write + num_pairs, second * cos + first * sin, mask=inside)
