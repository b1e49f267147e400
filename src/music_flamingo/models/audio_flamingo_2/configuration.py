"""Sizes of Audio Flamingo 2."""

from typing import Any

from transformers import AutoConfig, ClapAudioConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

HTSAT_LARGE = {
    "patch_embeds_hidden_size": 256,
    "depths": [2, 2, 12, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "hidden_size": 2048,
    "hidden_dropout_prob": 0.0,
    "enable_fusion": False,
}
"""AF-CLAP's encoder; the branch for clips longer than a window, which Audio Flamingo 2 does not use, is left out."""


QWEN2_5_3B = {
    "model_type": "qwen2",
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 11_008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
}
"""The language model. transformers takes what a given `text_config` or `audio_config` leaves out from Qwen2 and from
LAION's CLAP instead."""


class AudioFlamingo2Config(PreTrainedConfig):
    """AF-CLAP, a transform of its features, and a Qwen2.5 that hears them by cross-attention.

    The defaults are the published sizes with Qwen2.5-3B.

    Attributes:
        audio_config: of AF-CLAP's HTSAT.
        text_config: of the language model.
        transform_layers: of self-attention over the audio tokens of a song, with `transform_heads` each.
        transform_feed_forward: width of a layer's network.
        cross_attention_interval: layers of the language model from one that hears to the next.
        cross_attention_heads: of each cross-attention, `cross_attention_head_dim` wide.
        max_windows: windows of 10 s in the longest song.
        audio_token_id: stands for a song in the text.
        initializer_range: standard deviation of an untrained transform's and cross-attention's weights. A transform of
            larger ones, whose norms stand behind its sums, drowns what the encoder gives.
    """

    model_type = "audio_flamingo_2"
    sub_configs_defaults = {
        "audio_config": SubConfigSpec(config_class=ClapAudioConfig, init_kwargs=HTSAT_LARGE),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2", init_kwargs=QWEN2_5_3B),
    }

    audio_config: Any = None
    text_config: Any = None
    transform_layers: int = 3
    transform_heads: int = 8
    transform_feed_forward: int = 2048
    cross_attention_interval: int = 1
    cross_attention_heads: int = 8
    cross_attention_head_dim: int = 64
    max_windows: int = 30
    audio_token_id: int = 151_665
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    @property
    def audio_width(self) -> int:
        """Of AF-CLAP's features."""
        width: int = self.audio_config.hidden_size
        return width
