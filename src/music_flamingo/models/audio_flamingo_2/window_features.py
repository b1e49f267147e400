"""Dense features of AF-CLAP's windows, which a frozen encoder computes once."""

from typing import Any, cast

import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows
from music_flamingo.models.encoder_cache import EncoderCache

BANDS, STEPS = 2, 32
"""Features of a window: the low and the high half of the spectrum, each in 32 steps of 0.3125 s."""


def encode_windows(audio_tower: Any, input_features: Tensor) -> Tensor:
    """(W, 64, D) features of windows (W, M, F): the low half of the spectrum step by step, then the high half."""
    heard = audio_tower(input_features=input_features.transpose(1, 2)[:, None]).last_hidden_state
    return cast(Tensor, heard.flatten(2).transpose(1, 2))


def kept_windows(audio_tower: Any, windows: AudioWindows, cache: EncoderCache | None) -> Tensor:
    """(W, 64, D) features, those in `cache` from there; None encodes each time."""
    if cache is None:
        return encode_windows(audio_tower, windows.features)
    return torch.stack(
        cache.encode(lambda window: encode_windows(audio_tower, window.features)[0], audio_tower, windows)
    )


def heard_tokens(mel_lengths: Tensor, num_frames: int) -> Tensor:
    """(..., 64) bool, which tokens of windows of `num_frames` begin within their first (...) frames, the real ones."""
    # The last frame is centred on the end of the window.
    starts = torch.arange(STEPS, device=mel_lengths.device) * ((num_frames - 1) / STEPS)
    return (starts < mel_lengths[..., None]).tile((BANDS,))
