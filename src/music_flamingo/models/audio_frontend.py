"""From a waveform to the mel windows a model hears."""

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
        if len(waveform) < 4 * self.feature_extractor.hop_length:
            raise UserError(f"expected at least 40 ms of audio, got {len(waveform)} samples at {self.sampling_rate} Hz")
        starts = range(0, len(waveform), self.window_samples)
        chunks = [waveform[start : start + self.window_samples] for start in starts]
        if len(chunks) > 1 and len(chunks[-1]) < 4 * self.feature_extractor.hop_length:
            chunks.pop()  # a rest too short for an embedding
        extracted = self.feature_extractor(
            chunks,
            sampling_rate=self.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
            padding="max_length",
        )
        return AudioWindows(
            extracted["input_features"], extracted["attention_mask"].sum(-1).long(), torch.arange(len(chunks))
        )

    def mel_lengths(self, num_samples: int) -> torch.Tensor:
        """(W,) int64, frames that are no padding of each window of so many samples, without computing them."""
        hop: int = self.feature_extractor.hop_length
        whole, rest = divmod(num_samples, self.window_samples)
        rests = [-(-rest // hop)] if rest >= 4 * hop else []
        return torch.tensor([self.window_samples // hop] * whole + rests, dtype=torch.int64)
