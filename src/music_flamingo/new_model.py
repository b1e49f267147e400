"""`music-flamingo init`: a model to start a recipe from, untrained or of trained parts."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch

from music_flamingo.corpora.conversations import iterate_captions, iterate_texts
from music_flamingo.errors import UserError
from music_flamingo.model_cards.carried_licence import read_start
from music_flamingo.model_cards.model_card import CardFacts, network_facts, write_card
from music_flamingo.models import model_of_parts, presets
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
"""What builds an untrained preset of a corpus' texts, by its name."""
PARTS: dict[str, tuple[Callable[..., tuple[Any, Any]], tuple[str, ...]]] = {
    "music-flamingo": (model_of_parts.music_flamingo, ("audio_flamingo_3",)),
    "audio-flamingo-2": (model_of_parts.audio_flamingo_2, ("language_model",)),
    "af-clap": (model_of_parts.af_clap, ("text_encoder",)),
    "tinymu": (model_of_parts.tinymu, ("language_model", "audio_encoder")),
}
"""What builds a model of published size, by the name of its preset, and the parts it is made of."""


def init_command(  # noqa: PLR0913 - one option each
    out: Path,
    corpus: Path | None = None,
    preset: str = "tiny",
    seed: int = 0,
    *,
    language_model: Path | None = None,
    text_encoder: Path | None = None,
    audio_encoder: Path | None = None,
    audio_flamingo_3: Path | None = None,
) -> None:
    """Make a model to train, with its processor: a tiny one of a corpus' words, or one of published size.

    Args:
        out: Hugging Face directory to write.
        corpus: corpus folder whose texts the tokenizer of a tiny model learns.
        preset: tiny, small, tinymu-tiny, audio-flamingo-2-tiny and af-clap-tiny are untrained; music-flamingo, tinymu,
            audio-flamingo-2 and af-clap have the published sizes and are made of trained parts.
        seed: of the random weights.
        language_model: Hugging Face directory of a Qwen2.5 for audio-flamingo-2, of a SmolLM2 for tinymu.
        text_encoder: of a Flan-T5 for af-clap.
        audio_encoder: of a MATPAC++ for tinymu, as `music-flamingo convert matpac` makes it.
        audio_flamingo_3: of an Audio Flamingo 3 for music-flamingo.
    """
    if preset not in (*BUILDERS, *PARTS):
        raise UserError(f"preset: expected one of {', '.join([*BUILDERS, *PARTS])}, got {preset!r}")
    options = {
        "corpus": corpus,
        "language_model": language_model,
        "text_encoder": text_encoder,
        "audio_encoder": audio_encoder,
        "audio_flamingo_3": audio_flamingo_3,
    }
    given = {name: value for name, value in options.items() if value is not None}
    build, needed = PARTS.get(preset, (partial(_untrained, preset), ("corpus",)))
    if given.keys() != set(needed):
        raise UserError(f"preset {preset}: expected the options {_named(needed)}, got {_named(given) or 'none'}")
    torch.manual_seed(seed)
    network, processor = build(**given)
    network.save_pretrained(out)
    processor.save_pretrained(out)
    starts = [read_start(path) for name, path in given.items() if name != "corpus"]
    made = "of trained parts and untrained ones" if starts else "untrained"
    name = out.absolute().name
    write_card(out, CardFacts(name, name, starts=starts, made=made, **network_facts(network)))
    parameters = sum(p.numel() for p in network.parameters())
    made = "partly trained" if preset in PARTS else "untrained"
    print(f"{out}: {made} {preset} model, {parameters / 1e6:.1f} million parameters, {len(processor.tokenizer)} tokens")


def _untrained(preset: str, corpus: Path) -> tuple[Any, Any]:
    reads_captions = preset in af_clap_presets.PRESETS
    further = iterate_captions(corpus) if reads_captions else repeat(PROMPT_WORDS, PROMPT_REPETITIONS)
    texts = chain(iterate_texts(corpus), further)
    return BUILDERS[preset](preset, texts)


def _named(options: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)
