"""Rotary time embedding (RoTE): a frame's channels are rotated by the absolute time at which it is heard.

Of frame n of window w, heard at t seconds, channels 2k and 2k + 1 turn by

    -t (w / T) f_k             for the first K pairs,
    -2 pi t (n / T) f_k        for the next K,              f_k = theta ** (-2 k / dim)

times 2 pi radians. K is half of dim, rounded up, and T the longest song; later channels stay as they are. After some
minutes these are thousands of turns, of which float32 keeps few digits: transformers' tables are wrong by up to 7e-3 at
twenty minutes. But t is a whole number of ticks, so the turns are an integer times a constant: integer phases
(`phases`) lose no digit that counts.

Source: transformers' MusicFlamingoRotaryEmbedding, for the angles; Music Flamingo (arXiv:2511.10289), section 3.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import torch
from torch import Tensor

from music_flamingo.kernels.phases import TURN, Rotation, frequencies, phase_steps, radians
from music_flamingo.kernels.triton_device import HAS_TRITON, runs_triton

if HAS_TRITON:
    from music_flamingo.kernels.rote_triton import turn_frames


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
        phases = factors[..., None] * _steps(self, windows.device)  # (W, F, 2, K), wraps around
        return radians(phases).flatten(2)


@lru_cache
def _steps(rote: RoTE, device: torch.device) -> Tensor:
    """(2, K) int64 phases by which pairs turn for a tick times one window, and for a tick times one frame."""
    share = Decimal(rote.tick) / Decimal(rote.longest)
    by_window = [-share * frequency for frequency in frequencies(rote.theta, rote.dim, rote.num_pairs)]
    by_frame = [TURN * turns for turns in by_window]
    return torch.stack([phase_steps(by_window, device), phase_steps(by_frame, device)])


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
        ValueError: shapes do not fit, devices differ, or `in_place` where a gradient is needed.
    """
    if windows.dim() != 1 or windows.shape != hidden.shape[:-2] or hidden.shape[-1] < 4 * rote.num_pairs:
        raise ValueError(
            f"rotate: expected hidden (W, F, at least {4 * rote.num_pairs}) and windows (W,), "
            f"got {tuple(hidden.shape)} and {tuple(windows.shape)}"
        )
    if windows.device != hidden.device:
        raise ValueError(f"rotate: hidden is on {hidden.device}, windows are on {windows.device}")
    if in_place:
        if hidden.requires_grad:
            raise ValueError("rotate: in_place overwrites what the backward of `hidden` may need")
        return _turn(hidden, windows, rote, 1.0)
    rotated: Tensor = Rotation.apply(  # type: ignore[no-untyped-call]
        hidden, lambda tensor, direction: _turn(tensor.clone(), windows, rote, direction)
    )
    return rotated


def _turn(hidden: Tensor, windows: Tensor, rote: RoTE, direction: float) -> Tensor:
    """Rotate (W, F, D) where it stands."""
    if runs_triton(hidden):
        return turn_frames(hidden, windows, _steps(rote, hidden.device), direction)
    # Window by window: one window's angles and channels fit into a core's cache, those of a song do not.
    for window in range(len(hidden)):
        angles = rote.angles(windows[window : window + 1], hidden.shape[1])[0] * direction
        turning = hidden[window, :, : 4 * rote.num_pairs]
        pairs = torch.view_as_complex(turning.float().contiguous().unflatten(-1, (-1, 2)))
        turning.copy_(torch.view_as_real(pairs * torch.complex(angles.cos(), angles.sin())).flatten(-2))
    return hidden
