"""Sizes of TinyMU."""

from typing import Any

from transformers import AudioFlamingo3Config, AutoConfig
from transformers.configuration_utils import SubConfigSpec

from music_flamingo.models.matpac import MatpacConfig

SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
"""The language model; transformers takes what a given `text_config` leaves out from Llama instead."""


class TinyMUConfig(AudioFlamingo3Config):
    """MATPAC++, a projector, and SmolLM2; the defaults are the published sizes.

    Attributes:
        audio_config: of MATPAC++.
        text_config: of a Llama.
        projector_hidden_size: between the two layers of the released projector; None for the paper's single layer.
        audio_token_id: placeholder that an audio embedding replaces; a token of SmolLM2 that no text has.
        separator_token_id: stands between audio and prompt.
    """

    model_type = "tinymu"
    sub_configs_defaults = {
        "audio_config": SubConfigSpec(config_class=MatpacConfig),
        "text_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="llama",
            init_kwargs=SMOLLM2,
        ),
    }

    audio_config: Any = None
    text_config: Any = None
    audio_token_id: int = 16
    separator_token_id: int = 0
    projector_hidden_size: int | None = 2048
    projector_hidden_act: str = "relu"
    tie_word_embeddings: bool = True
