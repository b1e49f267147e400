"""From a waveform to the mel windows a model hears."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models.audio_encoder import audio_token_lengths


class AudioFrontend(ABC):
    """Cuts a mono waveform into the windows that one kind of model hears, and computes their features.

    Attributes:
        sampling_rate: in Hz.
        window_samples: from the beginning of a window to that of the next one.
    """

    sampling_rate: int
    window_samples: int

    def __call__(self, waveform: npt.NDArray[np.float32]) -> AudioWindows:
        """Windows of (S,) samples at `sampling_rate`; the last window is padded, and its padding not heard.

        Raises:
            UserError: less audio than one embedding needs.
        """
        starts = range(0, len(waveform), self.window_samples)
        return self.windows_of((waveform[start : start + self.window_samples] for start in starts), len(starts))

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All that features depend on beside the waveform."""

    @abstractmethod
    def windows_of(self, blocks: Iterable[npt.NDArray[np.float32]], most: int) -> AudioWindows:
        """The same of a waveform that comes in blocks of `window_samples`, each let go once it is heard.

        Args:
            blocks: of one song.
            most: windows there may be; the features are held only once, in a tensor of so many.

        Raises:
            UserError: less audio than one embedding needs.
        """

    @abstractmethod
    def mel_lengths(self, num_samples: int) -> Tensor:
        """(W,) int64, frames that are no padding of each window of so many samples, without computing them."""

    @abstractmethod
    def token_lengths(self, mel_lengths: Tensor) -> Tensor:
        """(W,) int64, tokens of a row that stand for the windows of a sound, which have so many frames (W,)."""


class WhisperFrontend(AudioFrontend):
    """Music Flamingo's and Audio Flamingo 3's: each window by itself.

    Args:
        feature_extractor: of the model's processor; its `chunk_length` is the window in seconds.
    """

    def __init__(self, feature_extractor: WhisperFeatureExtractor) -> None:
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.window_samples = feature_extractor.n_samples

    @property
    def settings(self) -> Mapping[str, Any]:
        return {name: each for name, each in self.feature_extractor.to_dict().items() if name != "mel_filters"}

    def windows_of(self, blocks: Iterable[npt.NDArray[np.float32]], most: int) -> AudioWindows:
        extractor = self.feature_extractor
        features = torch.empty(most, extractor.feature_size, extractor.nb_max_frames)
        lengths: list[int] = []
        for block in blocks:
            if len(block) >= 4 * extractor.hop_length:
                window = self._window(block)
                features[len(lengths)] = window["input_features"][0]
                lengths.append(int(window["attention_mask"].sum()))
            elif not lengths:
                raise UserError(
                    f"expected at least 40 ms of audio, got {len(block)} samples at {self.sampling_rate} Hz"
                )
            # Otherwise it is a song's end, a rest too short for an embedding.
        if not lengths:
            raise UserError("expected at least 40 ms of audio, got none")
        heard, indices = torch.tensor(lengths), torch.arange(len(lengths))
        return AudioWindows(features[: len(lengths)], heard, indices, self.token_lengths(heard))

    def _window(self, samples: npt.NDArray[np.float32]) -> Any:
        """Features of one window. Its loudest mel band sets its floor, so windows are independent of one another."""
        return self.feature_extractor(
            samples,
            sampling_rate=self.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
            padding="max_length",
        )

    def mel_lengths(self, num_samples: int) -> Tensor:
        hop: int = self.feature_extractor.hop_length
        whole, rest = divmod(num_samples, self.window_samples)
        rests = [-(-rest // hop)] if rest >= 4 * hop else []
        return torch.tensor([self.window_samples // hop] * whole + rests, dtype=torch.int64)

    def token_lengths(self, mel_lengths: Tensor) -> Tensor:
        return audio_token_lengths(mel_lengths)
