"""From a waveform to the mel windows that AF-CLAP hears.

Source: Audio Flamingo 2 (arXiv:2503.03983) and its published loader: windows of 10 s at 16 kHz without overlap, 64 HTK
mel bands from 50 to 8,000 Hz of a 1,024-point Hann window every 10 ms, in decibels.
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

FFT_SIZE = 1024
HOP = 160
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
QUIETEST_POWER = 1e-10
FULL_SCALE = 32_767


class AFClapFeatureExtractor(SequenceFeatureExtractor):
    """Cuts a song into windows and computes their mel bands.

    As the released weights were trained, a song's peak is brought to 1 and its samples are rounded to 16 bits.

    Args:
        feature_size: mel bands.
        sampling_rate: in Hz.
        chunk_length: seconds of a window.
        max_windows: of a song; 30 are five minutes.
    """

    model_input_names = ("input_features", "attention_mask")

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16_000,
        chunk_length: int = 10,
        max_windows: int = 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, kwargs.pop("padding_value", 0.0), **kwargs)
        self.chunk_length = chunk_length
        self.max_windows = max_windows
        self.n_samples = chunk_length * sampling_rate

    def __call__(self, waveform: npt.NDArray[np.float32] | Tensor, sampling_rate: int) -> BatchFeature:
        """Windows of one song.

        Args:
            waveform: (S,) float32 mono samples.
            sampling_rate: of them.

        Returns:
            `input_features` (W, M, F) float32 in decibels, and `attention_mask` (W, F) bool, true for frames that
            begin before the song's end.

        Raises:
            UserError: what `mono_samples` refuses, no samples, or more windows than `max_windows`.
        """
        heard = mono_samples(waveform, sampling_rate, self.sampling_rate, "AF-CLAP")
        samples = sixteen_bits(heard.numpy(force=True))
        if not len(samples):
            raise UserError("expected audio, got 0 samples: remove the file")
        num_windows = -(-len(samples) // self.n_samples)
        if num_windows > self.max_windows:
            raise UserError(
                f"expected at most {self.max_windows * self.chunk_length} s of audio ({self.max_windows} windows), got "
                f"{len(samples) / sampling_rate:.1f} s: shorten the song, or raise max_windows of the feature extractor"
            )
        padded = np.zeros((num_windows, self.n_samples), dtype=np.float32)
        padded.reshape(-1)[: len(samples)] = samples
        mel = log_mel(torch.from_numpy(padded), self.feature_size, sampling_rate)
        mask = torch.arange(mel.shape[-1]) < self.mel_lengths(len(samples))[:, None]
        return BatchFeature({"input_features": mel, "attention_mask": mask})

    def mel_lengths(self, num_samples: int) -> Tensor:
        """(W,) int64, frames of each window of so many samples that begin before their end."""
        num_windows = -(-num_samples // self.n_samples)
        rest = num_samples - self.n_samples * torch.arange(num_windows)
        return -(-rest.clamp(max=self.n_samples) // HOP)


def sixteen_bits(waveform: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """(S,) samples with their peak at 1, cut to the steps of 16 bits; silence stays silence."""
    peak = np.abs(waveform, dtype=np.float64).max(initial=0.0)
    scaled = waveform.astype(np.float64) / (peak or 1.0)
    rounded: npt.NDArray[np.float32] = (np.trunc(scaled * FULL_SCALE) / FULL_SCALE).astype(np.float32)
    return rounded


def log_mel(windows: Tensor, num_bands: int = 64, sampling_rate: int = 16_000) -> Tensor:
    """(W, M, F) mel powers in decibels of (W, S) samples, F = 1 + S // 160; silence is -100 dB."""
    hann = torch.hann_window(FFT_SIZE, dtype=windows.dtype, device=windows.device)
    spectrum = torch.stft(windows, FFT_SIZE, HOP, window=hann, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real**2 + spectrum.imag**2
    filters = mel_filter_bank(
        1 + FFT_SIZE // 2, num_bands, LOWEST_HZ, HIGHEST_HZ, sampling_rate, norm=None, mel_scale="htk"
    )
    mel = torch.as_tensor(filters, dtype=power.dtype, device=power.device).T @ power
    return 10 * mel.clamp(min=QUIETEST_POWER).log10()
