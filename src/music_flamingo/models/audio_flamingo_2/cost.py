"""FLOPs of an Audio Flamingo 2.

At its published size (HTSAT-large, Qwen2.5-3B) it needs, forward,

    120.9e9 for an audio window of 10 s,
    302.0e6 for an audio token, 24.6e3 for one and another of its song, in the transform and as keys and values,
    5.55e9 for a token of text, 2.57e9 more where it hears, 622.3e6 for a token that is predicted,
    73.7e3 for a token of text and an audio token that it hears, 294.9e3 for one and a token that it sees.
"""

from collections.abc import Sequence
from typing import Any

import torch

from music_flamingo.models.audio_flamingo_2.configuration import AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.cross_attention import EXPANSION
from music_flamingo.models.audio_flamingo_2.window_features import BANDS, STEPS, heard_tokens
from music_flamingo.models.cost_model import CostModel, Flops, Workload
from music_flamingo.models.layer_cost import DecoderCost, encoder_layers_flops

WINDOW_FRAMES = 1001
"""Of 10 s."""


class AudioFlamingo2Cost(CostModel):
    """Of an Audio Flamingo 2 with a language model of Qwen2's kind.

    Its own layers between encoder and language model, transform and cross-attention, count as the projector.

    Args:
        config: of the model.
    """

    def __init__(self, config: AudioFlamingo2Config) -> None:
        self._config = config
        self._window = htsat_flops(config.audio_config)
        self._language_model = DecoderCost(config.text_config, selects_rows=True)

    def flops(self, work: Workload) -> Flops:
        return Flops(
            encoder=len(work.windows) * self._window,
            projector=self._transform(work) + self._cross_attention(work),
            language_model=self._language_model.flops(work),
        )

    def _transform(self, work: Workload) -> float:
        """Attention of all audio tokens of a song to one another, padding and all."""
        config = self._config
        lengths = [BANDS * STEPS * len(song) for song in work.songs]
        return encoder_layers_flops(
            lengths, layers=config.transform_layers, width=config.audio_width, inner=config.transform_feed_forward
        )

    def _cross_attention(self, work: Workload) -> float:
        """Keys and values of each audio token, padding and all; queries and networks of each token that hears."""
        config = self._config
        width = config.text_config.hidden_size
        inner = config.cross_attention_heads * config.cross_attention_head_dim
        heard = [_tokens_heard(song) for song in work.songs]
        hearing = sum(tokens for tokens, song in zip(work.song_tokens, work.songs, strict=True) if song)
        pairs = sum(tokens * audio for tokens, audio in zip(work.song_tokens, heard, strict=True))
        keys_and_values = BANDS * STEPS * len(work.windows) * 2 * config.audio_width * 2 * inner
        text = hearing * 2 * width * (2 * inner + 2 * EXPANSION * width)
        layers = config.text_config.num_hidden_layers // config.cross_attention_interval
        return float(layers * (keys_and_values + text + pairs * 4 * inner))


def htsat_flops(config: Any) -> float:
    """Of a window, whatever is in it, through patches, stages of attention within small squares of them, and mergers.

    Args:
        config: transformers' sizes of CLAP's audio encoder, with square patches that fill the squares of each stage.
    """
    patch, stride = _side(config.patch_size), _side(config.patch_stride)
    side, width = config.spec_size // stride, config.patch_embeds_hidden_size
    total = side**2 * 2 * patch**2 * width
    for stage, layers in enumerate(config.depths):
        if stage:
            side, width = side // 2, 2 * width
            total += side**2 * 2 * (2 * width) * width  # four patches become one, twice as wide
        square = min(config.window_size, side) ** 2
        lengths = [square] * (side**2 // square)
        total += encoder_layers_flops(lengths, layers=layers, width=width, inner=int(config.mlp_ratio * width))
    return float(total)


def _tokens_heard(windows: Sequence[int]) -> int:
    """Audio tokens of a song that are no padding, from the mel frames of each window."""
    return int(heard_tokens(torch.tensor(windows, dtype=torch.int64), WINDOW_FRAMES).sum())


def _side(size: int | Sequence[int]) -> int:
    return size if isinstance(size, int) else size[0]
