"""From a waveform to the mel windows a model hears."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError


class AudioFrontend:
    """Cuts a mono waveform into the processor's windows and computes their log-mel features.

    Args:
        feature_extractor: of the model's processor; its `chunk_length` is the window in seconds.
    """

    def __init__(self, feature_extractor: Any) -> None:
        self.feature_extractor = feature_extractor
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.window_samples: int = feature_extractor.n_samples

    def __call__(self, waveform: npt.NDArray[np.float32]) -> AudioWindows:
        """Mel windows of (S,) samples at `sampling_rate`; the last window is padded, and its padding not heard.

        Raises:
            UserError: less audio than one embedding needs (40 ms).
        """
        starts = range(0, len(waveform), self.window_samples)
        return self.windows_of((waveform[start : start + self.window_samples] for start in starts), len(starts))

    def windows_of(self, blocks: Iterable[npt.NDArray[np.float32]], most: int) -> AudioWindows:
        """The same of a waveform that comes in blocks of `window_samples`, each let go once it is heard.

        Args:
            blocks: of one song.
            most: windows there may be; the features are held only once, in a tensor of so many.

        Raises:
            UserError: less audio than one embedding needs (40 ms).
        """
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
        return AudioWindows(features[: len(lengths)], torch.tensor(lengths), torch.arange(len(lengths)))

    def _window(self, samples: npt.NDArray[np.float32]) -> Any:
        """Features of one window. Its loudest mel band sets its floor, so windows are independent of one another."""
        return self.feature_extractor(
            samples,
            sampling_rate=self.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
            padding="max_length",
        )

    def mel_lengths(self, num_samples: int) -> torch.Tensor:
        """(W,) int64, frames that are no padding of each window of so many samples, without computing them."""
        hop: int = self.feature_extractor.hop_length
        whole, rest = divmod(num_samples, self.window_samples)
        rests = [-(-rest // hop)] if rest >= 4 * hop else []
        return torch.tensor([self.window_samples // hop] * whole + rests, dtype=torch.int64)
