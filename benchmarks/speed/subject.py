"""What is measured: an untrained model of a preset, `small` if no other is named, and songs of noise.

Of `small`'s four layers the last computes only what is read, as in every Music Flamingo here. That is exact, but worth
more than at full size: about a sixth of a long prompt's cost here, 3 % of 28 layers.
"""

import random
import string
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.models.audio_encoder import audio_token_lengths
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.freezing import evaluate_frozen_modules, freeze_parameters
from music_flamingo.models.model_kinds import load_model
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.models.presets import PRESETS
from music_flamingo.new_model import BUILDERS

MEL_FRAMES = 3000
TOKENS_PER_WINDOW = 750
WORD = 300
"""Id of an ordinary token."""
QUESTION_TOKENS = 16

_folder = TemporaryDirectory(prefix="music-flamingo-benchmark-")


@lru_cache
def model(preset: str = "small") -> MusicLanguageModel:
    """The model, its encoder frozen."""
    built = load_model(str(_directory(preset))).train()
    freeze_parameters(built, ["audio_tower"])
    evaluate_frozen_modules(built)
    return built


def chat(preset: str = "small") -> ConversationFormat:
    """How the model reads songs and what is said about them."""
    return ConversationFormat.from_directory(_directory(preset))


@lru_cache
def _directory(preset: str) -> Path:
    torch.manual_seed(0)
    network, processor = BUILDERS[preset](preset, _words())
    _open_gates(network)
    directory = Path(_folder.name) / preset
    network.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


@torch.no_grad()
def _open_gates(network: nn.Module) -> None:
    """An untrained cross-attention lets nothing through, so gradients in it would be zero whatever it computes."""
    for name, parameter in network.named_parameters():
        if name.endswith("_gate"):
            parameter.fill_(0.5)


def _words() -> list[str]:
    """Of random letters, enough for a preset's whole vocabulary."""
    rng = random.Random(0)
    return ["".join(rng.choices(string.ascii_lowercase, k=8)) for _ in range(4000)]


def song(num_windows: int) -> AudioWindows:
    """Windows of noise, 30 s each."""
    generator = torch.Generator().manual_seed(num_windows)
    mel = torch.randn(num_windows, PRESETS["small"]["audio"]["num_mel_bins"], MEL_FRAMES, generator=generator)
    lengths = torch.full((num_windows,), MEL_FRAMES)
    return AudioWindows(mel, lengths, torch.arange(num_windows), audio_token_lengths(lengths))


def prompt_row(windows: AudioWindows) -> PackedBatch:
    """A song and a question on it."""
    row = RowBuilder(model().audio_token_id)
    placeholders = [model().audio_token_id] * (len(windows) * TOKENS_PER_WINDOW)
    root = row.add([WORD, *placeholders, WORD], windows=windows)
    row.add([WORD] * QUESTION_TOKENS, parent=root)
    return row.build()


def completions(group: int, length: int) -> Tensor:
    """(G, C) random token ids."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(WORD, PRESETS["small"]["vocabulary"], (group, length), generator=generator)


def with_branches(prompt: PackedBatch, branches: Tensor) -> PackedBatch:
    """The row in which completions (G, C) branch off the prompt, trained."""
    row = RowBuilder(model().audio_token_id)
    root = row.add(prompt.segment_ids(0), windows=prompt.audio)
    question = row.add(prompt.segment_ids(1), parent=root)
    for branch in branches:
        row.add(branch, parent=question, train_from=0)
    return row.build()
