"""From a waveform that comes in blocks to MATPAC++'s windows."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models.audio_frontend import AudioFrontend
from music_flamingo.models.matpac.features import FFT_SIZE, HOP, MatpacFeatureExtractor, log_mel


class MatpacFrontend(AudioFrontend):
    """Windows of a song's mel frames, whose last frames hear 15 ms of the next window.

    Args:
        feature_extractor: tells their size.
    """

    def __init__(self, feature_extractor: MatpacFeatureExtractor) -> None:
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.window_samples = HOP * feature_extractor.window_frames

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: dict[str, Any] = self.feature_extractor.to_dict()
        return settings

    def windows_of(self, blocks: Iterable[npt.NDArray[np.float32]], most: int) -> AudioWindows:
        extractor = self.feature_extractor
        windows: list[Tensor] = []
        lengths: list[int] = []
        for samples in self._overlapping(blocks):
            mel = log_mel(torch.from_numpy(samples), extractor.feature_size, extractor.sampling_rate)
            lengths.append(mel.shape[1])
            windows.append(pad(mel, (0, extractor.window_frames - mel.shape[1])))
        if not windows:
            raise UserError(f"expected at least {FFT_SIZE} samples of audio at {self.sampling_rate} Hz, got fewer")
        heard = torch.tensor(lengths)
        return AudioWindows(torch.stack(windows), heard, torch.arange(len(windows)), self.token_lengths(heard))

    def mel_lengths(self, num_samples: int) -> Tensor:
        frames = 1 + (num_samples - FFT_SIZE) // HOP if num_samples >= FFT_SIZE else 0
        whole, rest = divmod(frames, self.feature_extractor.window_frames)
        lengths = [self.feature_extractor.window_frames] * whole + [rest] * (rest > 0)
        return torch.tensor(lengths, dtype=torch.int64)

    def token_lengths(self, mel_lengths: Tensor) -> Tensor:
        return -(-mel_lengths // self.feature_extractor.patch_frames)

    def _overlapping(self, blocks: Iterable[npt.NDArray[np.float32]]) -> Iterable[npt.NDArray[np.float32]]:
        """Samples of each window, of which the last frame ends after the next window has begun."""
        needed = self.window_samples + FFT_SIZE - HOP
        held = np.empty(0, dtype=np.float32)
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) >= needed:
                yield held[:needed]
                held = held[self.window_samples :]
        if len(held) >= FFT_SIZE:
            yield held
