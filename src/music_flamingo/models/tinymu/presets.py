"""Configurations and processors of freshly initialised TinyMUs."""

from collections.abc import Iterable
from typing import Any

from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.presets import train_tokenizer
from music_flamingo.models.tinymu.configuration import SMOLLM2, TinyMUConfig
from music_flamingo.models.tinymu.model import TinyMUForConditionalGeneration
from music_flamingo.models.tinymu.processor import AUDIO_TOKEN, TinyMUProcessor

PRESETS: dict[str, dict[str, Any]] = {
    # About 0.9 million parameters; MATPAC++'s own windows and patches.
    "tinymu-tiny": {
        "vocabulary": 1024,
        "audio": {
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 192,
            "initializer_range": 0.07,
        },
        "text": {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "initializer_range": 0.07,
        },
        "projector_hidden_size": 192,
    },
}
SPECIAL_TOKENS = ("<|endoftext|>", AUDIO_TOKEN)


def build(preset: str, texts: Iterable[str]) -> tuple[TinyMUForConditionalGeneration, TinyMUProcessor]:
    """An untrained model with a processor whose tokenizer is trained on `texts`."""
    size = PRESETS[preset]
    tokenizer = train_tokenizer(texts, size["vocabulary"], SPECIAL_TOKENS, "<|endoftext|>")
    processor = TinyMUProcessor(MatpacFeatureExtractor(), tokenizer)
    config = TinyMUConfig(
        audio_config=size["audio"],
        text_config={**SMOLLM2, "vocab_size": len(tokenizer), **size["text"]},
        projector_hidden_size=size["projector_hidden_size"],
        audio_token_id=processor.audio_token_id,
        separator_token_id=processor.audio_eos_token_id,
    )
    return TinyMUForConditionalGeneration(config), processor
