"""`music-flamingo init`: an untrained model to start a recipe from."""

from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch

from music_flamingo.corpora.conversations import iterate_captions, iterate_texts
from music_flamingo.errors import UserError
from music_flamingo.models import presets
from music_flamingo.models.audio_flamingo_2 import af_clap_presets
from music_flamingo.models.audio_flamingo_2 import presets as audio_flamingo_2_presets
from music_flamingo.models.conversation_format import THINK_SUFFIX
from music_flamingo.models.tinymu import presets as tinymu_presets
from music_flamingo.think_tags import BRIDGE

PROMPT_WORDS = f"system\nuser\nassistant\n {THINK_SUFFIX} {BRIDGE}"
PROMPT_REPETITIONS = 100
"""How often the tokenizer sees the words of chat template and thoughts, which stand in prompts but in no corpus."""

BUILDERS: dict[str, Callable[[str, Iterable[str]], tuple[Any, Any]]] = {
    **dict.fromkeys(presets.PRESETS, presets.build),
    **dict.fromkeys(tinymu_presets.PRESETS, tinymu_presets.build),
    **dict.fromkeys(audio_flamingo_2_presets.PRESETS, audio_flamingo_2_presets.build),
    **dict.fromkeys(af_clap_presets.PRESETS, af_clap_presets.build),
}
"""What builds a preset, by its name."""


def init_command(out: Path, corpus: Path, preset: str = "tiny", seed: int = 0) -> None:
    """Make an untrained model: tokenizer trained on a corpus, random weights, processor.

    Args:
        out: Hugging Face directory to write.
        corpus: corpus folder whose texts the tokenizer learns.
        preset: size of the model.
        seed: of the random weights.
    """
    if preset not in BUILDERS:
        raise UserError(f"preset: expected one of {', '.join(BUILDERS)}, got {preset!r}")
    reads_captions = preset in af_clap_presets.PRESETS
    further = iterate_captions(corpus) if reads_captions else repeat(PROMPT_WORDS, PROMPT_REPETITIONS)
    texts = chain(iterate_texts(corpus), further)
    torch.manual_seed(seed)
    network, processor = BUILDERS[preset](preset, texts)
    network.save_pretrained(out)
    processor.save_pretrained(out)
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{out}: untrained {preset} model, {parameters / 1e6:.1f} million parameters, {len(processor.tokenizer)} tokens"
    )
