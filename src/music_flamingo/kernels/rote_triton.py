"""RoTE's rotation as one Triton kernel: frames turn where they stand, channels that stay are not touched.

A program turns a tile of frames of one window and pairs of one axis. It loads its pairs' steps, makes the angles in
registers from the integer tick of each frame, and rotates in float32. Reference: `rote`, whose constants these are.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from music_flamingo.kernels.phases_triton import cos_and_sin

TILE_FRAMES, MOST_PAIRS = 8, 128


def turn_frames(hidden: Tensor, windows: Tensor, steps: Tensor, direction: float) -> Tensor:
    """Rotate (W, F, D) where it stands.

    Args:
        hidden: (W, F, D) with D at least 4 K, float32, bfloat16 or float16, of any strides.
        windows: (W,) integers, place of each window in its song.
        steps: (2, K) int64, phases for a tick times one window, and for a tick times one frame.
        direction: 1, or -1 to turn back.
    """
    num_windows, num_frames, _ = hidden.shape
    num_pairs = steps.shape[1]
    tile_pairs = min(MOST_PAIRS, triton.next_power_of_2(num_pairs))
    grid = (triton.cdiv(num_frames, TILE_FRAMES), 2 * triton.cdiv(num_pairs, tile_pairs), num_windows)
    with torch.cuda.device_of(hidden):
        _turn_kernel[grid](
            *(hidden, windows.contiguous(), steps),
            *(num_frames, num_pairs),
            *(*hidden.stride(), direction),
            TILE_FRAMES=TILE_FRAMES,
            TILE_PAIRS=tile_pairs,
        )
    return hidden


@triton.jit
def _turn_kernel(
    # pointers
    hidden,
    windows,
    steps,
    # sizes
    num_frames,
    num_pairs,
    # strides of hidden, and 1.0 or -1.0
    stride_window,
    stride_frame,
    stride_channel,
    direction,
    # the tile's shape, of which Triton wants powers of two
    TILE_FRAMES: tl.constexpr,
    TILE_PAIRS: tl.constexpr,
):
    frames = tl.program_id(0) * TILE_FRAMES + tl.arange(0, TILE_FRAMES)
    axis, first_pair = tl.program_id(1) % 2, tl.program_id(1) // 2 * TILE_PAIRS
    row = tl.program_id(2).to(tl.int64)

    # As in `rote`: an axis turns by the tick times the window, or times the frame.
    window = tl.load(windows + row).to(tl.int64)
    factors = (window * num_frames + frames) * tl.where(axis == 0, window, frames)
    pairs = first_pair + tl.arange(0, TILE_PAIRS)
    step = tl.load(steps + axis * num_pairs + pairs, mask=pairs < num_pairs, other=0)
    cos, sin = cos_and_sin(factors[:, None] * step[None, :], direction)

    # Neighbouring channels are a pair, so a tile of pairs is one stretch of channels.
    channels = 2 * first_pair + tl.arange(0, 2 * TILE_PAIRS)
    places = frames[:, None] * stride_frame + (2 * axis * num_pairs + channels)[None, :] * stride_channel
    inside = (frames < num_frames)[:, None] & (channels < 2 * num_pairs)[None, :]
    pointers = hidden + row * stride_window + places
    turning = tl.load(pointers, mask=inside).to(tl.float32)
    even, odd = tl.split(tl.reshape(turning, (TILE_FRAMES, TILE_PAIRS, 2)))
    turned = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    tl.store(pointers, tl.reshape(turned, (TILE_FRAMES, 2 * TILE_PAIRS)), mask=inside)
