"""The audio encoder without padding: windows of equal length go through it together, cut to what is heard.

Transformers' own forward computes every window at full length and hides the padding by a mask, which takes attention
off its fast path: a song's last window, and a song shorter than a window, would cost more than a full one.

Source: transformers 5.23, `AudioFlamingo3Encoder`.
"""

import torch
from torch import Tensor
from torch.nn.functional import dropout, gelu, pad
from transformers import AudioFlamingo3Encoder

from music_flamingo.batch import AudioWindows
from music_flamingo.models.recompute import recomputed


def encode_windows(encoder: AudioFlamingo3Encoder, windows: AudioWindows, *, recompute: bool = False) -> Tensor:
    """(W, A', D) outputs of the encoder for windows of A' tokens when full, with zeros after a window's last token.

    Args:
        encoder: whose layers are called.
        windows: to encode.
        recompute: keep the inputs only of its layers for the backward pass.
    """
    frames = encoder_frames(windows.lengths).tolist()
    full = int(encoder.max_source_positions) // 2
    groups = [[place for place, other in enumerate(frames) if other == number] for number in sorted(set(frames))]
    outputs = [_encode(encoder, windows.features[places], frames[places[0]], recompute) for places in groups]
    padded = [pad(output, (0, 0, 0, full - output.shape[1])) for output in outputs]
    order = torch.tensor([place for places in groups for place in places], device=windows.features.device)
    return padded[0] if len(padded) == 1 else torch.cat(padded)[order.argsort()]


def audio_token_lengths(mel_lengths: Tensor) -> Tensor:
    """Audio tokens of windows with `mel_lengths` valid frames: a stride-2 convolution, then a pooling over pairs.

    Source: transformers 5.23, `MusicFlamingoProcessor`.
    """
    return (encoder_frames(mel_lengths) - 2) // 2 + 1


def encoder_frames(mel_lengths: Tensor) -> Tensor:
    """(W,) frames that the encoder's layers see of so many mel frames (W,): every second, by a stride of 2."""
    return (mel_lengths - 1) // 2 + 1


def _encode(encoder: AudioFlamingo3Encoder, features: Tensor, frames: int, recompute: bool) -> Tensor:
    """(w, A', D) outputs of windows (w, M, F) of which the layers see so many frames."""
    # The convolutions look two frames beyond the last one: there stands padding, as in transformers' forward.
    hidden = gelu(encoder.conv1(features[..., : 2 * frames + 1]))
    hidden = gelu(encoder.conv2(hidden))[..., :frames].transpose(1, 2)
    hidden = dropout(hidden + encoder.embed_positions.weight[:frames], encoder.dropout, encoder.training)
    for layer in encoder.layers:
        if not (encoder.training and float(torch.rand(())) < encoder.layerdrop):
            hidden = recomputed(layer, hidden, None) if recompute and torch.is_grad_enabled() else layer(hidden, None)
    pooled: Tensor = encoder.layer_norm(encoder.avg_pooler(hidden.transpose(1, 2)).transpose(1, 2))
    return pooled
