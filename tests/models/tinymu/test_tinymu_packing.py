"""TinyMU's rows filled by what they cost, and trained on."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from transformers import LlamaConfig

from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.errors import UserError
from music_flamingo.models.cost_model import row_workload
from music_flamingo.models.model_kinds import cost_model_of, load_model
from music_flamingo.stages import CosineSchedule, SFTModule
from tests.builders import preset_directory, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), train=6, held_out=0, seconds=11.3)


TINYMU = str(preset_directory("tinymu-tiny"))


def data_module(corpus: Path, **settings: Any) -> ConversationDataModule:
    return ConversationDataModule(
        str(corpus),
        TINYMU,
        DirectAnswers(),
        questions_per_song=2,
        cache_features=False,
        **settings,
    )


@pytest.mark.parametrize("settings", [{}, {"max_song_seconds": 2.3, "shorten_songs": True}])
def test_what_a_song_costs_is_known_before_it_is_loaded(corpus: Path, settings: dict[str, Any]) -> None:
    data = data_module(corpus, **settings)
    data.setup("fit")
    rows = data.train_dataloader().dataset.conversations  # type: ignore[attr-defined]
    for cut in data.songs[0]:
        assert rows.workload(cut) == row_workload(rows[[cut]])


@pytest.mark.parametrize("limit", [{"max_tokens": 450}, {"max_flops": 8e8}])
def test_rows_are_filled_up_to_their_limit_and_trained_on(corpus: Path, limit: dict[str, Any], tmp_path: Path) -> None:
    stage = SFTModule(
        load_model(TINYMU),
        partial(torch.optim.AdamW, lr=3e-3),
        schedule=CosineSchedule(0.0),
    )
    heard, before = [], stage.model.head_weight.detach().clone()
    stage.on_train_batch_start = lambda row, _: heard.append(row_workload(row))  # type: ignore[method-assign]
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=1,
        max_steps=6,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(stage, data_module(corpus, **limit))
    (most,) = limit.values()
    cost_model = cost_model_of(TINYMU)
    spent = [work.tokens if "max_tokens" in limit else cost_model.flops(work).forward for work in heard]
    assert sum(len(work.songs) for work in heard) == 6
    assert 1 < len(heard) < 6
    assert max(spent) <= most
    assert all(row + next_row > most for row, next_row in pairwise(spent))
    assert not torch.equal(stage.model.head_weight, before)


def test_a_song_too_large_for_a_row_is_named_before_training_begins(corpus: Path) -> None:
    data = data_module(corpus, max_flops=1e3)
    data.setup("fit")
    with pytest.raises(UserError, match=r"cut train-\d: expected at most 1000 FLOPs \(data.max_flops\)"):
        data.train_dataloader()


def test_a_song_too_short_to_be_heard_is_named(tmp_path: Path) -> None:
    data = data_module(write_corpus(tmp_path, train=1, held_out=0, seconds=0.024))
    data.setup("fit")
    with pytest.raises(UserError, match="cut train-0: expected enough audio for one embedding, got 0.024 s: remove"):
        next(iter(data.train_dataloader()))


def test_packing_by_cost_is_refused_where_the_cost_is_not_known(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="whose cost is known, got 'llama': give data.max_duration"):
        cost_model_of(str(tmp_path))
