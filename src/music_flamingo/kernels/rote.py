"""Rotary time embedding (RoTE): a frame's channels are rotated by the absolute time at which it is heard.

Of frame n of window w, heard at t seconds, channels 2k and 2k + 1 turn by

    -t (w / T) f_k             for the first K pairs,
    -2 pi t (n / T) f_k        for the next K,              f_k = theta ** (-2 k / dim)

times 2 pi radians. K is half of dim, rounded up, and T the longest song; later channels stay as they are. After some
minutes these are thousands of turns, of which float32 keeps few digits: transformers' tables are wrong by up to 7e-3 at
twenty minutes. But t is a whole number of ticks, so the turns are an integer times a constant. With the constant's
fraction of a turn as a 64-bit integer, the product wraps around as the angle does, and no digit that counts is lost.

Source: transformers' MusicFlamingoRotaryEmbedding, for the angles; Music Flamingo (arXiv:2511.10289), section 3.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

PHASE_BITS = 64
KEPT_BITS = 24
"""Of a phase; as many as float32 holds."""


@dataclass(frozen=True)
class RoTE:
    """The constants of a rotation.

    Args:
        dim: of the rotation on either axis.
        theta: base of the frequencies.
        longest: T, seconds of the longest song the constants are made for; later times are rotated too.
        tick: seconds from one frame to the next.
    """

    dim: int
    theta: float = 1200.0
    longest: float = 1200.0
    tick: float = 0.04

    @property
    def num_pairs(self) -> int:
        """K, the pairs of channels that turn on either axis; 4 K channels turn in all."""
        return (self.dim + 1) // 2

    def angles(self, windows: Tensor, num_frames: int) -> Tensor:
        """(W, F, 2 K) float32 angles in radians, between -pi and pi, of the frames of windows (W,) of a song."""
        windows = windows.long()
        frames = torch.arange(num_frames, device=windows.device)
        ticks = windows[:, None] * num_frames + frames
        factors = torch.stack([ticks * windows[:, None], ticks * frames], -1)  # (W, F, 2)
        phases = factors[..., None] * _phase_per_factor(self).to(windows.device)  # (W, F, 2, K), wraps around
        kept = (phases >> (PHASE_BITS - KEPT_BITS)).float()
        radians: Tensor = kept.flatten(2) * (-2 * math.pi / 2**KEPT_BITS)
        return radians


@lru_cache
def _phase_per_factor(rote: RoTE) -> Tensor:
    """(2, K) int64: of a tick times one window, or one frame, the fraction of a turn, in 2**-64 turns."""
    frequencies = [rote.theta ** (-2 * k / rote.dim) for k in range(rote.num_pairs)]
    turns = [[axis * f * rote.tick / rote.longest for f in frequencies] for axis in (1.0, 2 * math.pi)]
    fractions = torch.tensor(turns, dtype=torch.float64).remainder(1.0)
    nearest = fractions - fractions.round()  # int64 holds half a turn to either side
    return (nearest * 2.0**PHASE_BITS).long()


def rotate(hidden: Tensor, windows: Tensor, rote: RoTE, *, in_place: bool = False) -> Tensor:
    """Rotate encoder outputs by the time of each frame.

    Args:
        hidden: (W, F, D) with D at least 4 K.
        windows: (W,) place of each window in its song.
        rote: the constants.
        in_place: overwrite `hidden`; channels that stay are then not even read.

    Returns:
        (W, F, D) in the dtype of `hidden`; the rotation itself is float32.

    Raises:
        ValueError: `in_place` where a gradient is needed.
    """
    if in_place:
        if hidden.requires_grad:
            raise ValueError("rotate: in_place overwrites what the backward of `hidden` may need")
        return _turn(hidden, windows, rote, 1.0)
    rotated: Tensor = _Rotation.apply(hidden, windows, rote)  # type: ignore[no-untyped-call]
    return rotated


class _Rotation(torch.autograd.Function):
    """Its backward is the rotation the other way round, so nothing but the windows' places is kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, windows: Tensor, rote: RoTE) -> Tensor:
        ctx.save_for_backward(windows)
        ctx.rote = rote
        return _turn(hidden.clone(), windows, rote, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (windows,) = ctx.saved_tensors
        return _turn(gradient.clone(), windows, ctx.rote, -1.0), None, None


def _turn(hidden: Tensor, windows: Tensor, rote: RoTE, direction: float) -> Tensor:
    """Rotate (W, F, D) where it stands."""
    # Window by window: one window's angles and channels fit into a core's cache, those of a song do not.
    for window in range(len(hidden)):
        angles = rote.angles(windows[window : window + 1], hidden.shape[1])[0] * direction
        turning = hidden[window, :, : 4 * rote.num_pairs]
        pairs = torch.view_as_complex(turning.float().contiguous().unflatten(-1, (-1, 2)))
        turning.copy_(torch.view_as_real(pairs * torch.complex(angles.cos(), angles.sin())).flatten(-2))
    return hidden
