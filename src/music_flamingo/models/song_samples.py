"""Can a song be heard as it is given? What cannot is refused, not mixed, scaled or shortened without a word."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from music_flamingo.errors import UserError

Samples = npt.NDArray[np.floating] | Tensor


def mono_samples(waveform: Samples, sampling_rate: int, expected_rate: int, listener: str) -> Tensor:
    """(S,) samples of a song.

    Args:
        waveform: (S,) floats.
        sampling_rate: of them.
        expected_rate: what the listener hears.
        listener: who it is.

    Raises:
        UserError: another rate, several channels, samples that are no floats, NaN, or infinite ones.
    """
    samples = torch.as_tensor(waveform)
    if sampling_rate != expected_rate:
        raise UserError(f"{listener} hears {expected_rate} Hz, got {sampling_rate} Hz: resample the audio")
    if samples.ndim != 1 or not samples.is_floating_point():
        raise UserError(
            f"{listener} hears one channel of floats (S,), got {str(samples.dtype).removeprefix('torch.')} "
            f"{tuple(samples.shape)}: mix the channels, and scale integers to between -1 and 1"
        )
    broken = int((~samples.isfinite()).sum())
    if broken:
        raise UserError(
            f"{listener} hears finite samples, got {broken} of {len(samples)} that are NaN or infinite: repair or "
            "leave out the song"
        )
    return samples


def require_short(songs: Iterable[Samples], sampling_rate: int, most_seconds: float) -> None:
    """Refuse songs longer than a processor takes. transformers' shortens them, and the answer may be in what is lost.

    Args:
        songs: (..., S) samples of each.
        sampling_rate: of them.
        most_seconds: the processor's `max_audio_len`.

    Raises:
        UserError: which is longer.
    """
    for number, song in enumerate(songs):
        seconds = song.shape[-1] / sampling_rate
        if seconds > most_seconds:
            raise UserError(
                f"audio {number}: expected at most {most_seconds:g} s (max_audio_len in processor_config.json), got "
                f"{seconds:.1f} s: cut the song first, or raise max_audio_len"
            )
