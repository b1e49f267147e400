"""How text hears audio in Audio Flamingo 2: cross-attention before a layer of the language model, behind two gates.

The gates are zero at first, so that an untrained model is its language model to the bit.

Source: Audio Flamingo 2 (arXiv:2503.03983), section 3.1; Flamingo (arXiv:2204.14198), section 2.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from music_flamingo.models.heard_audio import HeardAudio, KeyValue

NORM_EPS = 1e-5
EXPANSION = 4
"""How much wider than the text the network is between its matrices."""


@dataclass(frozen=True)
class PaddedAudio:
    """Audio of a batch of texts as a padded rectangle.

    Attributes:
        features: (B, A, D) audio tokens.
        mask: (B, A) bool, true where there is audio.
    """

    features: Tensor
    mask: Tensor

    @property
    def is_heard(self) -> None:
        """No text here is without audio."""

    def __call__(self, layer: int, query: Tensor, key_value: KeyValue) -> Tensor:
        """See `HeardAudio`."""
        key, value = key_value(self.features)
        return attended(query, key, value, self.mask[:, None, None])

    def repeated(self, times: int) -> "PaddedAudio":
        """The audio of a batch in which each text stands so many times in a row."""
        return PaddedAudio(self.features.repeat_interleave(times, 0), self.mask.repeat_interleave(times, 0))


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, N, H, D) queries over keys and values (B, A, H, D), those hidden where `mask` is false -> (B, N, H, D)."""
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


class GatedCrossAttention(nn.Module):
    """Attention of text to audio and a network, both behind a gate.

    Args:
        layer_idx: of the decoder layer that it stands before.
        width: of the text.
        audio_width: of the audio tokens.
        num_heads: of the attention.
        head_dim: of each.
    """

    def __init__(self, layer_idx: int, width: int, audio_width: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.num_heads = num_heads
        inner = num_heads * head_dim
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.q_proj = nn.Linear(width, inner, bias=False)
        self.kv_proj = nn.Linear(audio_width, 2 * inner, bias=False)
        self.o_proj = nn.Linear(inner, width, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.fc1 = nn.Linear(width, EXPANSION * width, bias=False)
        self.fc2 = nn.Linear(EXPANSION * width, width, bias=False)
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, audio: HeardAudio) -> Tensor:
        """(B, N, D) hidden states of text -> (B, N, D)."""
        heard = hidden + self.attention_gate.tanh() * self.attention(hidden, audio)
        network = self.fc2(nn.functional.gelu(self.fc1(self.feed_forward_norm(heard))))
        heard = heard + self.feed_forward_gate.tanh() * network
        return heard if audio.is_heard is None else torch.where(audio.is_heard[..., None], heard, hidden)

    def attention(self, hidden: Tensor, audio: HeardAudio) -> Tensor:
        """(B, N, D) what the text hears, before the gate."""
        query = self.q_proj(self.norm(hidden)).unflatten(-1, (self.num_heads, -1))
        return cast(Tensor, self.o_proj(audio(self.layer_idx, query, self.key_value).flatten(-2)))

    def key_value(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) audio tokens -> (..., H, D') keys and values."""
        key, value = self.kv_proj(features).unflatten(-1, (2, self.num_heads, -1)).unbind(-3)
        return key, value


class HearingLayer(nn.Module):
    """A decoder layer that hears before it reads.

    Args:
        decoder_layer: of the language model.
        cross_attention: before it; None for a layer that only reads.
    """

    def __init__(self, decoder_layer: nn.Module, cross_attention: GatedCrossAttention | None) -> None:
        super().__init__()
        self.cross_attention = cross_attention
        self.decoder_layer = decoder_layer

    @property
    def mlp(self) -> nn.Module:
        """The decoder layer's feed-forward network."""
        return cast(nn.Module, self.decoder_layer.mlp)

    def forward(self, hidden_states: Tensor, *args: Any, audio: HeardAudio | None = None, **kwargs: Any) -> Tensor:
        """As the decoder layer's, with the audio that the text hears; None for a text without."""
        if audio is not None and self.cross_attention is not None:
            hidden_states = self.cross_attention(hidden_states, audio)
        return cast(Tensor, self.decoder_layer(hidden_states, *args, **kwargs))
