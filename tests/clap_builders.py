"""A small AF-CLAP, and an Audio Flamingo 2 whose processor computes its windows."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from music_flamingo.corpora.songbook.caption_variants import caption_variants
from music_flamingo.models.audio_flamingo_2 import AFClapConfig, AFClapFeatureExtractor, AFClapModel, AFClapProcessor
from music_flamingo.models.presets import train_tokenizer
from music_flamingo.new_model import BUILDERS
from tests.builders import TEXTS, truth

AUDIO = {"patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]}
TEXT = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
CAPTIONS = [variant.text for number in range(3) for variant in caption_variants(truth(number), f"train-{number}")]
_folder = TemporaryDirectory(prefix="music-flamingo-tests-")


@lru_cache
def clap_directory() -> str:
    tokenizer = train_tokenizer(CAPTIONS, 320, ("<pad>", "</s>"), "</s>", lowercase=True)
    tokenizer.pad_token = "<pad>"
    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(tokenizer), "dropout_rate": 0.0}
    config = AFClapConfig(
        audio_config={**AUDIO, "hidden_dropout_prob": 0.0, "enable_fusion": False}, text_config=text, projection_dim=12
    )
    directory = str(Path(_folder.name) / "clap")
    AFClapModel(config).save_pretrained(directory)
    AFClapProcessor(AFClapFeatureExtractor(), tokenizer).save_pretrained(directory)
    return directory


@lru_cache
def preset_directory(preset: str) -> str:
    torch.manual_seed(len(preset))  # others for another preset
    network, processor = BUILDERS[preset](preset, [*TEXTS, *CAPTIONS])
    directory = str(Path(_folder.name) / preset)
    network.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def flamingo_directory() -> str:
    return preset_directory("audio-flamingo-2-tiny")
