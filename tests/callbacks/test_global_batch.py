from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback

from music_flamingo.callbacks import GlobalBatch
from music_flamingo.callbacks.global_batch import fitting_devices, nearest_rows
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.rewards import FormatReward, WeightedReward
from music_flamingo.rollout import SamplingParameters
from music_flamingo.stages import GRPOModule, SFTModule
from tests.builders import model_directory, quiet_trainer, write_corpus

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), train=8)


def rows_of_two_songs(corpus: Path, **settings: Any) -> ConversationDataModule:
    """Each song with three conversations."""
    style = DirectAnswers(["instrument", "drums", "tempo"], ["open"])
    return ConversationDataModule(
        str(corpus), str(model_directory()), style, questions_per_song=3, max_duration=20, **settings
    )


class Rows(Callback):
    """Keeps what training saw."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.tokens.append(batch.tree.num_tokens)


def test_rows_are_as_many_as_come_nearest() -> None:
    assert [nearest_rows(128, per_row) for per_row in (4.0, 12.0, 100.0, 500.0)] == [32, 11, 1, 1]


def test_devices_that_fit_are_the_nearest_below_and_above() -> None:
    """Of 48 sequences, rows of 4: 12 rows, which 1, 2, 3, 4, 6 and 12 devices divide."""
    assert fitting_devices(48, 4.0, devices=5, tolerance=0.0) == [4, 6]
    assert fitting_devices(48, 4.0, devices=9, tolerance=0.0) == [6, 12]
    assert fitting_devices(48, 4.0, devices=40, tolerance=0.0) == [12]
    assert fitting_devices(48, 4.0, devices=5, tolerance=0.2) == [4, 6]
    assert fitting_devices(48, 100.0, devices=1, tolerance=0.1) == []


def test_a_step_takes_as_many_rows_as_hold_its_sequences_and_logs_what_they_held(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Rows()
    trainer = quiet_trainer(tmp_path, max_steps=2, callbacks=[GlobalBatch(sequences=12), rows])
    trainer.fit(SFTModule(MusicFlamingo(str(model_directory())), SGD), rows_of_two_songs(corpus))
    assert trainer.accumulate_grad_batches == 2
    assert len(rows.tokens) == 4
    assert trainer.callback_metrics["global_batch/sequences"] == 12
    assert trainer.callback_metrics["global_batch/tokens"] == sum(rows.tokens[2:])
    said = capsys.readouterr().out
    assert "a step: 12 sequences" in said
    assert "(1 device x 2 rows of 6 sequences" in said
    assert "an epoch: about 2 steps" in said  # eight songs, four a step


def test_a_step_can_be_given_in_tokens(corpus: Path, tmp_path: Path) -> None:
    data = rows_of_two_songs(corpus)
    data.setup("fit")
    size = data.step_size(2)
    rows = [row.tree.num_tokens for row, _ in zip(data.train_dataloader(), range(2), strict=False)]
    assert size.tokens == sum(rows) / 2
    trainer = quiet_trainer(tmp_path, max_steps=1, callbacks=[GlobalBatch(tokens=round(3 * size.tokens))])
    trainer.fit(SFTModule(MusicFlamingo(str(model_directory())), SGD), data)
    assert trainer.accumulate_grad_batches == 3


def test_all_ranks_rows_count(corpus: Path) -> None:
    data = rows_of_two_songs(corpus)
    second = {"rank": 1, "num_replicas": 2}
    data.trainer = SimpleNamespace(world_size=2, global_rank=1, distributed_sampler_kwargs=second)  # type: ignore[assignment]
    data.setup("fit")
    size = data.step_size(50)
    assert (size.ranks, size.sequences, size.steps_of_epoch) == (2, 12.0, 2.0)


@pytest.mark.parametrize(
    ("limits", "remedy"),
    [({}, "lower data.questions_per_song"), ({"max_tokens": 750}, "lower data.max_tokens to 562")],
)
def test_a_step_that_no_number_of_rows_makes_is_refused_with_what_does(
    corpus: Path, limits: dict[str, int], remedy: str
) -> None:
    data = rows_of_two_songs(corpus, **limits)
    first = {"rank": 0, "num_replicas": 2}
    trainer = SimpleNamespace(
        world_size=2, global_rank=0, datamodule=data, is_global_zero=True, distributed_sampler_kwargs=first
    )
    data.trainer = trainer  # type: ignore[assignment]
    data.setup("fit")
    stage = SFTModule(MusicFlamingo(str(model_directory())), SGD)
    message = (
        r"^GlobalBatch.sequences: expected 18 a step, but for 10%, got 24 \(2 devices x 2 rows x 6 a row\): take "
        rf"1 or 3 devices, or {remedy}$"
    )
    with pytest.raises(UserError, match=message):
        GlobalBatch(sequences=18).setup(trainer, stage, "fit")  # type: ignore[arg-type]


def test_what_the_recipe_accumulates_is_checked(corpus: Path, tmp_path: Path) -> None:
    stage = SFTModule(MusicFlamingo(str(model_directory())), SGD)
    settings: dict[str, Any] = {"max_steps": 1, "accumulate_grad_batches": 2}
    quiet_trainer(tmp_path, callbacks=[GlobalBatch(sequences=12)], **settings).fit(stage, rows_of_two_songs(corpus))
    trainer = quiet_trainer(tmp_path, callbacks=[GlobalBatch(sequences=24)], **settings)
    with pytest.raises(UserError, match=r"got 12 \(1 device x 2 rows .*leave accumulate_grad_batches out"):
        trainer.fit(stage, rows_of_two_songs(corpus))


def test_a_stage_that_steps_by_itself_is_told_its_rows(corpus: Path, tmp_path: Path) -> None:
    rewards = [WeightedReward(FormatReward())]
    sampling = SamplingParameters(max_new_tokens=3, num_generations=2)
    stage: Any = GRPOModule(MusicFlamingo(str(model_directory())), SGD, rewards, sampling)
    data = rows_of_two_songs(corpus, prompts_only=True)
    data.setup("fit")
    trainer = SimpleNamespace(datamodule=data, is_global_zero=True, accumulate_grad_batches=1)
    stage.rows_per_step = 1
    GlobalBatch(sequences=12).setup(trainer, stage, "fit")  # type: ignore[arg-type]
    assert (stage.rows_per_step, trainer.accumulate_grad_batches) == (2, 1)


def test_a_stage_that_steps_after_every_row_is_refused_where_a_row_is_not_enough(corpus: Path) -> None:
    data = rows_of_two_songs(corpus)
    data.setup("fit")
    trainer, stage = SimpleNamespace(datamodule=data), SimpleNamespace(automatic_optimization=False)
    GlobalBatch(sequences=6).setup(SimpleNamespace(datamodule=data, is_global_zero=False), stage, "fit")  # type: ignore[arg-type]
    del stage.rows_per_step
    with pytest.raises(UserError, match="expected 12 a step, got SimpleNamespace, which steps after every row"):
        GlobalBatch(sequences=12).setup(trainer, stage, "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"sequences": 1, "tokens": 1}])
def test_either_sequences_or_tokens_are_given(given: dict[str, int]) -> None:
    build: Callable[..., GlobalBatch] = GlobalBatch
    with pytest.raises(UserError, match="either sequences or tokens"):
        build(**given)
