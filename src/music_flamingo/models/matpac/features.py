"""From a waveform to the log-mel windows that MATPAC++ hears.

Source: MATPAC++'s published front end: 16 kHz, Hann windows of 25 ms every 10 ms without padding at the edges, power,
80 Slaney mel bands from 50 to 8,000 Hz, natural logarithm, and one mean and deviation for all bins.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from music_flamingo.errors import UserError
from music_flamingo.models.song_samples import mono_samples

FFT_SIZE = 400
HOP = 160
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
LOG_OFFSET = float(np.finfo(np.float32).eps)
MEAN, DEVIATION = -7.056, 4.193


class MatpacFeatureExtractor(SequenceFeatureExtractor):
    """Cuts a song's log-mel frames into windows.

    The frames are those of the whole song: a window's last ones hear 15 ms of the next window. The last window is as
    long as what is left of the song, in whole patches of 16 frames, and stands before zeros, which are the data's mean.

    Args:
        feature_size: mel bands.
        sampling_rate: in Hz.
        window_frames: frames of a window, 10 ms each.
        patch_frames: frames of one embedding.
    """

    model_input_names = ("input_features", "attention_mask")

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16_000,
        window_frames: int = 992,
        patch_frames: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, kwargs.pop("padding_value", 0.0), **kwargs)
        self.window_frames = window_frames
        self.patch_frames = patch_frames

    def __call__(self, waveform: npt.NDArray[np.float32] | Tensor, sampling_rate: int) -> BatchFeature:
        """Windows of one song.

        Args:
            waveform: (S,) float32 mono samples.
            sampling_rate: of them.

        Returns:
            `input_features` (W, M, F) float32, and `attention_mask` (W, F) bool, true for frames that are heard.

        Raises:
            UserError: what `mono_samples` refuses, or less audio than one frame.
        """
        samples = mono_samples(waveform, sampling_rate, self.sampling_rate, "MATPAC++")
        features = log_mel(samples, self.feature_size, self.sampling_rate)
        num_frames = features.shape[1]
        num_windows = -(-num_frames // self.window_frames)
        padded = torch.nn.functional.pad(features, (0, num_windows * self.window_frames - num_frames))
        heard = torch.arange(num_windows * self.window_frames) < num_frames
        return BatchFeature(
            {
                "input_features": padded.unflatten(1, (num_windows, self.window_frames)).transpose(0, 1).contiguous(),
                "attention_mask": heard.unflatten(0, (num_windows, self.window_frames)),
            }
        )


def log_mel(waveform: Tensor, num_bands: int = 80, sampling_rate: int = 16_000) -> Tensor:
    """(M, F) normalised log-mel frames of (S,) samples, F = 1 + (S - 400) // 160.

    Raises:
        UserError: fewer than 400 samples.
    """
    if len(waveform) < FFT_SIZE:
        raise UserError(f"expected at least {FFT_SIZE} samples of audio, one mel frame, got {len(waveform)}")
    window = torch.hann_window(FFT_SIZE, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, FFT_SIZE, HOP, window=window, center=False, return_complex=True)
    power = spectrum.real**2 + spectrum.imag**2
    filters = mel_filter_bank(
        1 + FFT_SIZE // 2, num_bands, LOWEST_HZ, HIGHEST_HZ, sampling_rate, norm="slaney", mel_scale="slaney"
    )
    mel = torch.as_tensor(filters, dtype=power.dtype, device=power.device).T @ power
    return ((mel + LOG_OFFSET).log() - MEAN) / DEVIATION
