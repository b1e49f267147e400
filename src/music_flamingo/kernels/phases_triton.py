"""Phases as angles inside a Triton kernel; see `phases`."""

import math

import triton
import triton.language as tl

from music_flamingo.kernels.phases import KEPT_BITS, PHASE_BITS

_DROPPED_BITS = tl.constexpr(PHASE_BITS - KEPT_BITS)
_UNIT = tl.constexpr(2 * math.pi / 2**KEPT_BITS)


@triton.jit
def cos_and_sin(phases, direction):
    """Float32 cosine and sine of a tile of int64 phases, turned the other way round where `direction` is -1."""
    angles = (phases >> _DROPPED_BITS).to(tl.int32).to(tl.float32) * _UNIT
    return tl.cos(angles), tl.sin(angles) * direction
