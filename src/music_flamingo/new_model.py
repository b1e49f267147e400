"""`music-flamingo init`: an untrained model to start a recipe from."""

from itertools import chain, repeat
from pathlib import Path

import torch

from music_flamingo.corpora.conversations import iterate_texts
from music_flamingo.errors import UserError
from music_flamingo.models.conversation_format import THINK_SUFFIX
from music_flamingo.models.presets import PRESETS, build_config, build_network, build_processor
from music_flamingo.think_tags import BRIDGE

PROMPT_WORDS = f"system\nuser\nassistant\n {THINK_SUFFIX} {BRIDGE}"
PROMPT_REPETITIONS = 100
"""How often the tokenizer sees the words of chat template and thoughts, which stand in prompts but in no corpus."""


def init_command(out: Path, corpus: Path, preset: str = "tiny", seed: int = 0) -> None:
    """Make an untrained model: tokenizer trained on a corpus, random weights, processor.

    Args:
        out: Hugging Face directory to write.
        corpus: corpus folder whose texts the tokenizer learns.
        preset: size of the model.
        seed: of the random weights.
    """
    if preset not in PRESETS:
        raise UserError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    size = PRESETS[preset]
    texts = chain(iterate_texts(corpus), repeat(PROMPT_WORDS, PROMPT_REPETITIONS))
    processor = build_processor(texts, size["vocabulary"], size["audio"]["num_mel_bins"], size["window_seconds"])
    torch.manual_seed(seed)
    network = build_network(build_config(preset, processor))
    network.save_pretrained(out)
    processor.save_pretrained(out)
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{out}: untrained {preset} model, {parameters / 1e6:.1f} million parameters, {len(processor.tokenizer)} tokens"
    )
