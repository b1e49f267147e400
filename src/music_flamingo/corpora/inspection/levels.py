"""What the samples of a song say about it, gathered block by block: levels, offsets, and a hash of the content."""

import numpy as np
import numpy.typing as npt
import xxhash

SHORTEST_SECONDS = 0.04
"""One embedding of the model."""
_QUIET_WINDOW_SECONDS = 0.1
_SILENT_PEAK = 1e-4
_QUIET_PEAK = 1e-3
_QUIET_SHARE = 0.95
_CANCELLED_POWER_SHARE = 1e-4
_OFFSET = 0.02
_FULL_SCALE = 0.999
_BEYOND_FULL_SCALE = 1.0001
_CLIPPED_SHARE = 0.002
_BLOCK_VALUES = 1 << 18
"""Samples of all channels together in one block: a megabyte, which stays in the cache between the passes."""


class Levels:
    """Levels of a song.

    Args:
        sampling_rate: samples per second.
        num_channels: of each.
        is_float: stored as floating point, which may go beyond full scale without being clipped.

    Attributes:
        num_frames: samples per channel so far.
    """

    def __init__(self, sampling_rate: int, num_channels: int, *, is_float: bool) -> None:
        self.sampling_rate = sampling_rate
        self.num_channels = num_channels
        self.is_float = is_float
        self.num_frames = 0
        self._window = max(1, round(sampling_rate * _QUIET_WINDOW_SECONDS))
        self._num_windows = 0
        self._num_quiet = 0
        self._num_not_finite = 0
        self._num_clipped = 0
        self._peak = 0.0
        self._sums = np.zeros(num_channels)
        self._products = np.zeros((num_channels, num_channels))
        self._hash = xxhash.xxh3_128()

    @property
    def block_frames(self) -> int:
        """How many frames to give at a time, in the last block fewer."""
        return self._window * max(1, _BLOCK_VALUES // (self._window * self.num_channels))

    @property
    def digest(self) -> str:
        """Hash of all samples: equal for the same content in whatever lossless file."""
        return f"{self._hash.hexdigest()}-{self.sampling_rate}-{self.num_channels}"

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Take in the next (F, C) samples."""
        self.num_frames += len(block)
        self._hash.update(np.ascontiguousarray(block).data)
        whole = len(block) - len(block) % self._window
        self._add_peaks(block[:whole].reshape(-1, self._window * self.num_channels))
        self._add_peaks(block[whole:].reshape(1, -1))
        # Matrix products: the fastest way over interleaved channels, and float32 is exact enough for one block.
        self._sums += np.ones(len(block), np.float32) @ block
        self._products += block.T @ block

    def _add_peaks(self, windows: npt.NDArray[np.float32]) -> None:
        if not windows.size:
            return
        peaks = np.maximum(windows.max(axis=1), -windows.min(axis=1))
        if not np.isfinite(peaks).all():  # a NaN is both the smallest and the largest
            self._num_not_finite += int(windows.size - np.isfinite(windows).sum())
            return
        self._num_windows += len(peaks)
        self._num_quiet += int((peaks < _QUIET_PEAK).sum())
        self._peak = max(self._peak, float(peaks.max()))
        if (loud := peaks >= _FULL_SCALE).any():
            self._num_clipped += _clipped(windows[loud].reshape(-1, self.num_channels))

    def problems(self) -> list[tuple[str, str]]:
        """(kind, detail) of what is wrong with the samples; what follows from something worse is not said too."""
        seconds = self.num_frames / self.sampling_rate
        if self.num_frames == 0:
            return [("empty", "decodes to 0 samples")]
        if seconds < SHORTEST_SECONDS:
            return [("too_short", f"{self.num_frames} samples, {1000 * seconds:.1f} ms")]
        if self._num_not_finite:
            return [("non_finite", f"{self._num_not_finite:,} samples are NaN or infinite")]
        if self._peak < _SILENT_PEAK:
            return [("silent", f"no sample beyond {_decibels(_SILENT_PEAK)} in {seconds:.1f} s")]
        if self._is_cancelled:
            return [("cancels_in_mono", f"the mean of the {self.num_channels} channels is next to silence")]
        return self._warnings()

    def _warnings(self) -> list[tuple[str, str]]:
        found = []
        quiet = self._num_quiet / self._num_windows
        if quiet >= _QUIET_SHARE:
            found.append(("mostly_silent", f"{100 * quiet:.0f} % of it is below {_decibels(_QUIET_PEAK)}"))
        offset = float(np.abs(self._sums / self.num_frames).max())
        if offset >= _OFFSET:
            found.append(("dc_offset", f"samples lie around {offset:.2f} of full scale instead of 0"))
        share = self._num_clipped / (self.num_frames * self.num_channels)
        if share >= _CLIPPED_SHARE and not (self.is_float and self._peak > _BEYOND_FULL_SCALE):
            found.append(("clipped", f"{100 * share:.1f} % of the samples stand at full scale, three or more in a row"))
        return found

    @property
    def _is_cancelled(self) -> bool:
        """Whether the mean of the channels has next to no power beside the channels themselves."""
        mean_power = self._products.sum() / self.num_channels**2
        channel_power = self._products.trace() / self.num_channels
        return self.num_channels > 1 and bool(mean_power < _CANCELLED_POWER_SHARE * channel_power)


def _clipped(frames: npt.NDArray[np.float32]) -> int:
    """Samples of (F, C) in runs of three or more at full scale."""
    full = np.abs(frames) >= _FULL_SCALE
    middle = full[2:] & full[1:-1] & full[:-2]
    in_run = np.zeros_like(full)
    for shift in range(3):
        in_run[shift : len(full) - 2 + shift] |= middle
    return int(in_run.sum())


def _decibels(amplitude: float) -> str:
    return f"{20 * np.log10(amplitude):.0f} dB of full scale"
