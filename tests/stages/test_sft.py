import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from music_flamingo.corpora.songbook.noise import MachineNoise
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers, ThinkTraces
from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.stages import ConstantSchedule, CosineSchedule, EvaluationPass, SFTModule, WarmupModule
from tests.builders import model_directory, question_row, quiet_trainer, song

ADAM = partial(torch.optim.AdamW, lr=3e-3)


def model() -> MusicFlamingo:
    return MusicFlamingo(str(model_directory()))


def test_the_loss_falls_on_repeated_rows_and_the_encoder_hears_every_window(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    stage, losses = SFTModule(model(), ADAM, schedule=CosineSchedule(0.0)), []
    step = stage.training_step
    stage.training_step = lambda *args: losses.append(step(*args)) or losses[-1]  # type: ignore[method-assign, func-returns-value]
    train(stage, data(), max_steps=12)
    assert losses[-1] < 0.7 * losses[0]
    assert stage.model.windows_with_gradient == stage.model.windows_encoded == 12 * 4


def test_frozen_parameters_do_not_move_and_the_others_do(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    stage = SFTModule(model(), ADAM, freeze=["audio_tower"], schedule=CosineSchedule(0.0))
    before = {name: p.detach().clone() for name, p in stage.model.network.named_parameters()}
    train(stage, data(), max_steps=2)
    moved = {name for name, p in stage.model.network.named_parameters() if not torch.equal(p, before[name])}
    assert not any("audio_tower" in name for name in moved)
    assert any("language_model" in name for name in moved)
    assert any("multi_modal_projector" in name for name in moved)


def test_a_freeze_pattern_that_finds_nothing_stops_the_stage() -> None:
    with pytest.raises(UserError, match="matches no parameter"):
        SFTModule(model(), ADAM, freeze=["adapter"])


def test_the_mean_is_over_answer_tokens(data: Callable[..., ConversationDataModule]) -> None:
    source = data()
    source.setup("fit")
    row = next(iter(source.train_dataloader()))
    stage = SFTModule(model(), ADAM)
    loss_sum, num_tokens = stage._loss(row)
    logprobs, _ = stage.model.target_logprobs(row)
    assert num_tokens == len(row.targets)
    torch.testing.assert_close(loss_sum / num_tokens, -logprobs.mean())


@pytest.mark.parametrize("rows", [2, 3])
def test_rows_of_a_step_weigh_by_their_answer_tokens(rows: int, tmp_path: Path) -> None:
    """Two rows that a step accumulates, and one that the epoch's end leaves alone."""
    answers = ["yes", "a piano, a bass and a drum kit", "no, a violin"]
    given = [question_row([song(10.0, seed)], ["which?"], [answer]) for seed, answer in enumerate(answers)][:rows]
    stage = SFTModule(model(), partial(torch.optim.SGD, lr=0.1), schedule=ConstantSchedule())
    expected = model().train()
    for step in (given[:2], given[2:]):
        if step:
            logprobs = [expected.target_logprobs(row)[0] for row in step]
            expected.zero_grad()
            (-torch.cat(logprobs).mean()).backward()
            for weight in expected.parameters():
                weight.data -= 0 if weight.grad is None else 0.1 * weight.grad
    trainer = quiet_trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2)
    trainer.fit(stage, DataLoader(given, batch_size=None))  # type: ignore[arg-type]
    for ours, theirs in zip(stage.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_answers_to_the_test_questions_are_written_line_by_line(
    data: Callable[..., ConversationDataModule], tmp_path: Path
) -> None:
    ways = [EvaluationPass(max_new_tokens=5), EvaluationPass(audio="other", max_new_tokens=5)]
    stage = SFTModule(model(), ADAM, evaluation=ways)
    trainer = Trainer(default_root_dir=tmp_path / "2_sft", accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.test(stage, data(test_style=DirectAnswers(["drums"], ["open"])), verbose=False)
    rows = [json.loads(line) for line in (tmp_path / "2_sft" / "predictions.jsonl").read_text().splitlines()]
    assert [(row["cut"], row["audio"]) for row in rows] == [
        (f"test-{n}", a) for a in ("own", "other") for n in range(3)
    ]
    assert {row["mode"] for row in rows} == {"direct"}
    assert {row["truth"] for row in rows} == {"yes", "no"}
    assert {row["stage"] for row in rows} == {"2_sft"}


def test_the_warm_up_scores_samples_in_validation(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], rewards: list[Any]
) -> None:
    stage = WarmupModule(model(), ADAM, rewards=rewards)
    trainer = train(stage, data(), max_steps=1, limit_val_batches=1, val_check_interval=1, check_val_every_n_epoch=None)
    assert 0.0 <= trainer.callback_metrics["val/rewards/format"] <= 1.0
    assert trainer.callback_metrics["val/loss"] > 0
    assert trainer.callback_metrics["val/entropy"] > 0


def test_songs_whose_chains_were_all_dropped_are_not_sampled(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], rewards: list[Any]
) -> None:
    noise = MachineNoise(missing=0.0, wrong=1.0, systematic={})
    stage = WarmupModule(model(), ADAM, rewards=rewards)
    source = data(style=ThinkTraces(noise, ["instrument"], ["open"]))
    trainer = train(stage, source, max_steps=1, limit_val_batches=1, val_check_interval=1, check_val_every_n_epoch=None)
    assert trainer.callback_metrics["val/rewards/format"].isnan()  # the mean of none
