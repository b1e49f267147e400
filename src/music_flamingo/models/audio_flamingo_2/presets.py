"""Configurations and processors of freshly initialised Audio Flamingo 2s."""

from collections.abc import Iterable
from typing import Any

from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE, QWEN2_5_3B, AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.model import AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2.processor import (
    AUDIO_TOKEN,
    END_OF_ANSWER,
    SEPARATOR,
    AudioFlamingo2Processor,
)
from music_flamingo.models.presets import train_tokenizer

PRESETS: dict[str, dict[str, Any]] = {
    # About 2 million parameters; AF-CLAP's own windows, patches and shape of 64 tokens a window.
    "audio-flamingo-2-tiny": {
        "vocabulary": 1024,
        "audio": {
            "patch_embeds_hidden_size": 24,
            "hidden_size": 192,
            "depths": [1, 1, 2, 1],
            "num_attention_heads": [1, 2, 4, 8],
            "initializer_factor": 3.5,  # times 0.02
        },
        "text": {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "initializer_range": 0.07,
        },
        "sizes": {
            "transform_layers": 3,
            "transform_heads": 4,
            "transform_feed_forward": 192,
            "cross_attention_heads": 3,
            "cross_attention_head_dim": 32,
        },
    },
}
SPECIAL_TOKENS = ("<|endoftext|>", END_OF_ANSWER, SEPARATOR, AUDIO_TOKEN)


def build(preset: str, texts: Iterable[str]) -> tuple[AudioFlamingo2ForConditionalGeneration, AudioFlamingo2Processor]:
    """An untrained model with a processor whose tokenizer is trained on `texts`."""
    size = PRESETS[preset]
    tokenizer = train_tokenizer(texts, size["vocabulary"], SPECIAL_TOKENS, END_OF_ANSWER, lowercase=True)
    processor = AudioFlamingo2Processor(AFClapFeatureExtractor(), tokenizer)
    special_ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AudioFlamingo2Config(
        audio_config={**HTSAT_LARGE, **size["audio"]},
        text_config={**QWEN2_5_3B, "vocab_size": len(tokenizer), **special_ids, **size["text"]},
        audio_token_id=processor.audio_token_id,
        **special_ids,
        **size["sizes"],
    )
    return AudioFlamingo2ForConditionalGeneration(config), processor
