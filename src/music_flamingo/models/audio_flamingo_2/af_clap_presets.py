"""Configurations and processors of freshly initialised AF-CLAPs."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from music_flamingo.models.audio_flamingo_2.af_clap import FLAN_T5_BASE, AFClapConfig, AFClapModel
from music_flamingo.models.audio_flamingo_2.af_clap_processor import AFClapProcessor
from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.presets import PRESETS as AUDIO_FLAMINGO_2_PRESETS
from music_flamingo.models.presets import train_tokenizer

PRESETS: dict[str, dict[str, Any]] = {
    # About 1 million parameters; the encoder that `audio-flamingo-2-tiny` has.
    "af-clap-tiny": {
        "vocabulary": 1024,
        "audio": AUDIO_FLAMINGO_2_PRESETS["audio-flamingo-2-tiny"]["audio"],
        "text": {"d_model": 96, "d_kv": 32, "d_ff": 192, "num_layers": 2, "num_heads": 3, "dropout_rate": 0.0},
        "projection_dim": 128,
    },
}
PADDING, END = "<pad>", "</s>"
POSITION_BIAS_STD = 3.0
"""Of an untrained text tower's biases of attention by distance. T5's own, 0.1 at this width, leave attention so even
that a text is the bag of its words, and the songbook's few steps never teach who enters first."""


def build(preset: str, texts: Iterable[str]) -> tuple[AFClapModel, AFClapProcessor]:
    """An untrained model with a processor whose tokenizer is trained on `texts`."""
    size = PRESETS[preset]
    tokenizer = train_tokenizer(texts, size["vocabulary"], (PADDING, END), END, lowercase=True)
    tokenizer.pad_token = PADDING
    special_ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AFClapConfig(
        audio_config={**HTSAT_LARGE, **size["audio"]},
        text_config={**FLAN_T5_BASE, "vocab_size": len(tokenizer), **special_ids, **size["text"]},
        projection_dim=size["projection_dim"],
    )
    model = AFClapModel(config)
    text_tower: Any = model.text_tower  # transformers does not type its layers
    first_layer = text_tower.encoder.block[0].layer[0]
    nn.init.normal_(first_layer.SelfAttention.relative_attention_bias.weight, std=POSITION_BIAS_STD)
    return model, AFClapProcessor(AFClapFeatureExtractor(), tokenizer)
