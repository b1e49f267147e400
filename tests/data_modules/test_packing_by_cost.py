"""Rows of every kind of model filled by what they cost, and trained on."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.errors import UserError
from music_flamingo.models.cost_model import Workload, row_workload
from music_flamingo.models.model_kinds import cost_model_of, load_model
from music_flamingo.stages import CosineSchedule, SFTModule
from tests.builders import preset_directory, quiet_trainer, write_corpus

PRESETS = ("tiny", "tinymu-tiny", "audio-flamingo-2-tiny")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), train=5, held_out=0, seconds=11.3)


def data_module(preset: str, corpus: Path, **settings: Any) -> ConversationDataModule:
    processor = str(preset_directory(preset))
    data = ConversationDataModule(
        str(corpus), processor, DirectAnswers(), questions_per_song=2, cache_features=False, **settings
    )
    data.setup("fit")
    return data


def songs_and_rows(preset: str, corpus: Path, **settings: Any) -> tuple[Any, Any]:
    data = data_module(preset, corpus, **settings)
    return data.songs[0], data.train_dataloader().dataset.conversations  # type: ignore[attr-defined]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("settings", [{}, {"max_song_seconds": 2.3, "shorten_songs": True}], ids=["whole", "shortened"])
def test_what_a_song_costs_is_known_before_it_is_loaded(preset: str, corpus: Path, settings: dict[str, Any]) -> None:
    songs, rows = songs_and_rows(preset, corpus, **settings)
    for cut in songs:
        assert rows.workload(cut) == row_workload(rows[[cut]])


def test_each_of_several_sounds_heard_by_cross_attention_has_its_place(corpus: Path) -> None:
    songs, rows = songs_and_rows("audio-flamingo-2-tiny", corpus)
    cut, other = list(songs)[:2]
    cut.custom["sound_2"] = other.recording
    assert rows.workload(cut) == row_workload(rows[[cut]])
    assert rows.workload(cut).audio_tokens == 2


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("limit", ["max_tokens", "max_flops"])
def test_rows_are_filled_up_to_their_limit_and_trained_on(
    preset: str, limit: str, corpus: Path, tmp_path: Path
) -> None:
    cost_model = cost_model_of(str(preset_directory(preset)))

    def cost(work: Workload) -> float:
        return work.tokens if limit == "max_tokens" else cost_model.flops(work).forward

    songs, rows = songs_and_rows(preset, corpus)
    costs = sorted(cost(rows.workload(cut)) for cut in songs)
    most = sum(costs[-2:])  # of any two songs
    adam = partial(torch.optim.AdamW, lr=3e-3)
    stage = SFTModule(load_model(str(preset_directory(preset))), adam, schedule=CosineSchedule(0.0))
    heard: list[Workload] = []
    before = stage.model.head_weight.detach().clone()
    stage.on_train_batch_start = lambda row, _: heard.append(row_workload(row))  # type: ignore[method-assign]
    trainer = quiet_trainer(tmp_path, max_epochs=1, max_steps=5)
    trainer.fit(stage, data_module(preset, corpus, **{limit: most}))
    assert sum(len(work.songs) for work in heard) == 5
    assert 1 < len(heard) < 5
    assert max(map(cost, heard)) <= most
    assert all(cost(row + next_row) > most for row, next_row in pairwise(heard))
    assert not torch.equal(stage.model.head_weight, before)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_song_too_large_for_a_row_is_named_before_training_begins(preset: str, corpus: Path) -> None:
    with pytest.raises(UserError, match=r"cut train-\d: expected at most 1000 FLOPs \(data.max_flops\)"):
        data_module(preset, corpus, max_flops=1e3).train_dataloader()


def test_a_song_too_short_to_be_heard_is_named(tmp_path: Path) -> None:
    data = data_module("tinymu-tiny", write_corpus(tmp_path, train=1, held_out=0, seconds=0.024))
    with pytest.raises(UserError, match="cut train-0: expected enough audio for one embedding, got 0.024 s: remove"):
        next(iter(data.train_dataloader()))


def test_packing_by_cost_is_refused_where_the_cost_is_not_known(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="whose cost is known, got 'llama': give data.max_duration"):
        cost_model_of(str(tmp_path))
