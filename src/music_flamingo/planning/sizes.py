"""Widths and depths of a Music Flamingo, as its memory depends on them."""

import math
from dataclasses import dataclass
from typing import Any

from transformers import MusicFlamingoConfig

from music_flamingo.kernels.linear_cross_entropy import MOST_LOGITS, MOST_ROWS


@dataclass(frozen=True)
class DecoderSizes:
    """Of a language model of Llama's kind.

    Attributes:
        layers: how many.
        width: of a token.
        inner: of the feed-forward network.
        attended: width of all queries.
        kept: width of all keys.
        heads: of the queries.
        head_dim: width of a head.
        vocabulary: rows of the head.
    """

    layers: int
    width: int
    inner: int
    attended: int
    kept: int
    heads: int
    head_dim: int
    vocabulary: int


@dataclass(frozen=True)
class EncoderSizes:
    """Of an encoder of Whisper's kind.

    Attributes:
        layers: how many.
        width: of a frame.
        inner: of the feed-forward network.
        heads: of attention.
        mel_bins: of a mel frame.
        rotated: channels that the time embedding rotates.
    """

    layers: int
    width: int
    inner: int
    heads: int
    mel_bins: int
    rotated: int


def decoder_sizes(config: Any) -> DecoderSizes:
    """Of transformers' configuration."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return DecoderSizes(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner=config.intermediate_size,
        attended=head_dim * config.num_attention_heads,
        kept=head_dim * config.num_key_value_heads,
        heads=config.num_attention_heads,
        head_dim=head_dim,
        vocabulary=config.vocab_size,
    )


def encoder_sizes(config: MusicFlamingoConfig) -> EncoderSizes:
    """Of transformers' configuration of the whole model, which knows the time embedding."""
    audio: Any = config.audio_config
    rope: dict[str, Any] = config.rope_parameters or {}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return EncoderSizes(
        layers=audio.num_hidden_layers,
        width=audio.hidden_size,
        inner=audio.intermediate_size,
        heads=audio.num_attention_heads,
        mel_bins=audio.num_mel_bins,
        rotated=4 * math.ceil(int(head_dim * rope.get("partial_rotary_factor", 1.0)) / 2),
    )


def chunk_rows(vocabulary: int) -> int:
    """Rows whose logits the head holds at a time; see `kernels.linear_cross_entropy`."""
    return max(1, min(MOST_ROWS, MOST_LOGITS // vocabulary))
