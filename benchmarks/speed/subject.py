"""What is measured: an untrained model of the `small` preset, and songs of noise as long as need be.

Of its four layers the last computes only what is read, as in every model here. That is exact, but worth more than at
full size: about a sixth of a long prompt's cost here, 3 % of 28 layers.
"""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.audio_encoder import audio_token_lengths
from music_flamingo.models.presets import PRESETS, build_config, build_network, build_processor

MEL_FRAMES = 3000
TOKENS_PER_WINDOW = 750
WORD = 300
"""Id of an ordinary token."""
QUESTION_TOKENS = 16

_folder = TemporaryDirectory(prefix="music-flamingo-benchmark-")


@lru_cache
def model() -> MusicFlamingo:
    """The model, its encoder frozen."""
    size = PRESETS["small"]
    processor = build_processor(["words to make a tokenizer of"], 300, size["audio"]["num_mel_bins"], 30)
    config = build_config("small", processor)
    config.text_config.vocab_size = size["vocabulary"]
    torch.manual_seed(0)
    build_network(config).save_pretrained(_folder.name)
    processor.save_pretrained(_folder.name)
    built = MusicFlamingo(str(Path(_folder.name)))
    built.network.model.audio_tower.requires_grad_(False)
    return built.train()


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
