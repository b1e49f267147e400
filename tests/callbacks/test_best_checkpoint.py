"""The best weights stay whatever happens to the process, and all others go."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from music_flamingo.callbacks import BestCheckpoint, RollingCheckpoint
from music_flamingo.callbacks.best_checkpoint import best_steps
from music_flamingo.checkpoint_folder import CheckpointFolder, newest_first
from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.run_resume import begin_anew
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from tests.builders import model_directory, quiet_trainer, write_corpus
from tests.dummy_stage import Stage
from tests.test_exporting import LICENCE, checkpoint, export, fit_words, weights, write_start


class Scored(Stage):
    """Its validations score what was written down for their step."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.scores = scores

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/score", self.scores[self.global_step])


class KilledError(Exception):
    """Stands for the end of the process."""


class KillAt(Callback):
    """Ends the process in or after the validation of a step, before or after the weights are saved."""

    def __init__(self, step: int, moment: str) -> None:
        self.step, self.moment = step, moment

    def _end(self, trainer: Trainer, moment: str) -> None:
        if (trainer.global_step, moment) == (self.step, self.moment):
            raise KilledError

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._end(trainer, "step")

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        self._end(trainer, "validation")

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._end(trainer, "saved")

    def on_before_zero_grad(self, trainer: Trainer, *_: Any) -> None:
        self._end(trainer, "next")


def fit(
    folder: Path, scores: Sequence[float], *callbacks: Callback, keep: int = 1, mode: Any = "min", **settings: Any
) -> BestCheckpoint:
    """Steps, each followed by a validation; goes on from the newest checkpoint that is there."""
    best = BestCheckpoint("val/score", mode, keep)
    steps = len(scores) - 1
    trainer = quiet_trainer(
        folder,
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=1,
        limit_val_batches=1,
        enable_checkpointing=True,
        callbacks=[*callbacks, best],
        **settings,
    )
    trainer.strategy.checkpoint_io = FolderCheckpointIO()
    newest = next(iter(newest_first(folder / "checkpoints")), None)
    loader = DataLoader(TensorDataset(torch.ones(100)))
    trainer.fit(Scored(scores), loader, DataLoader(TensorDataset(torch.ones(1))), ckpt_path=newest, weights_only=True)
    return best


def kept(folder: Path) -> list[int]:
    """Steps whose weights are there, and whose scores are."""
    steps = sorted(int(path.name[5:13]) for path in newest_first(folder / "best"))
    scores = json.loads((folder / "best" / "scores.json").read_text())["scores"]
    assert [int(step) for step in scores] == steps
    return steps


NAN = math.nan


@pytest.mark.parametrize(
    ("mode", "keep", "scores", "expected"),
    [
        ("min", 1, [3.0, 2.0, 2.5, 1.0, 4.0], [4]),
        ("max", 1, [3.0, 2.0, 2.5, 1.0, 4.0], [5]),
        ("min", 1, [2.0, 1.0, 1.0, 3.0], [2]),  # of equal ones the earlier
        ("max", 2, [1.0, 1.0, 1.0, 0.5], [1, 2]),
        ("min", 2, [5.0, 4.0, 3.0, 2.0, 1.0], [4, 5]),
        ("min", 2, [1.0, 2.0, 3.0], [1, 2]),
        ("min", 2, [NAN, 2.0, NAN, 1.0], [2, 4]),
        ("max", 3, [1.0], [1]),
        ("min", 3, [math.inf, 2.0], [1, 2]),
    ],
)  # fmt: skip
def test_the_best_stay(mode: str, keep: int, scores: list[float], expected: list[int], tmp_path: Path) -> None:
    fit(tmp_path, [NAN, *scores], keep=keep, mode=mode)
    assert kept(tmp_path) == expected
    assert best_steps(dict(enumerate(scores, 1)), mode, keep) == set(expected)


def test_they_are_the_weights_of_their_step_without_optimizer(tmp_path: Path) -> None:
    fit(tmp_path, [NAN, 2.0, 1.0, 3.0], RollingCheckpoint(1, keep=9))
    best = CheckpointFolder(tmp_path / "best" / "step-00000002.ckpt")
    rolling = CheckpointFolder(tmp_path / "checkpoints" / "step-00000002.ckpt")
    assert torch.equal(best.read("state_dict/weight"), rolling.read("state_dict/weight"))
    assert list(best.tensors) == ["state_dict/weight"]
    assert "optimizer_states" in rolling.state()
    assert "optimizer_states" not in best.state()


@pytest.mark.parametrize("moment", ["step", "validation", "saved", "next"])
@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_a_killed_fit_ends_with_the_best_of_the_uninterrupted_one(
    step: int, keep: int, moment: str, tmp_path: Path
) -> None:
    scores = [NAN, 5.0, 4.0, 6.0, 3.0, 4.5, 3.5, 3.2]
    fit(tmp_path / "whole", scores, RollingCheckpoint(3, keep=9), keep=keep)
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", scores, KillAt(step, moment), RollingCheckpoint(3, keep=9), keep=keep)
    fit(tmp_path / "killed", scores, RollingCheckpoint(3, keep=9), keep=keep)
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole") == ([4] if keep == 1 else [4, 7])
    for name in [path.name for path in newest_first(tmp_path / "whole" / "best")]:
        ours, theirs = (CheckpointFolder(tmp_path / each / "best" / name) for each in ("killed", "whole"))
        assert torch.equal(ours.read("state_dict/weight"), theirs.read("state_dict/weight"))


@pytest.mark.parametrize("step", [3, 6])
@pytest.mark.parametrize(("moment", "lost"), [("step", False), ("validation", True), ("saved", False), ("next", False)])
def test_the_best_step_is_one_that_a_killed_fit_goes_on_from(
    step: int, moment: str, lost: bool, tmp_path: Path
) -> None:
    """Its validation is not repeated: that its weights are there again and its score was written down is enough."""
    scores = [NAN, 5.0, 4.0, 1.0, 3.0, 4.5, 2.0, 3.2]
    with pytest.raises(KilledError):
        fit(tmp_path, scores, KillAt(step, moment), RollingCheckpoint(3, keep=9), keep=2)
    fit(tmp_path, scores, RollingCheckpoint(3, keep=9), keep=2)
    assert kept(tmp_path) == (sorted({3, 4, 6} - {step}) if lost else [3, 6])


def test_weights_whose_writing_was_cut_short_go(tmp_path: Path) -> None:
    scores = [NAN, 5.0, 4.0, 3.0, 2.0]
    fit(tmp_path, scores[:3], RollingCheckpoint(1, keep=9), keep=2)
    (tmp_path / "best" / "step-00000001.ckpt" / "manifest.json").unlink()
    shutil.copytree(tmp_path / "best" / "step-00000002.ckpt", tmp_path / "best" / "step-00000009.ckpt")
    fit(tmp_path, [*scores[:3], 9.0], RollingCheckpoint(1, keep=9), keep=2)
    assert kept(tmp_path) == [2, 3]


def test_another_fit_begins_without_those_of_an_earlier_one(tmp_path: Path) -> None:
    fit(tmp_path, [NAN, 1.0, 0.5])
    fit(tmp_path, [NAN, 3.0, 4.0])
    assert kept(tmp_path) == [1]
    begin_anew(tmp_path)
    assert not (tmp_path / "best").exists()


def test_sanity_checks_and_validations_outside_of_a_fit_are_not_scored(tmp_path: Path) -> None:
    best = fit(tmp_path, [0.0, 3.0, 4.0], num_sanity_val_steps=1)
    assert kept(tmp_path) == [1]
    trainer = quiet_trainer(tmp_path, limit_val_batches=1, enable_checkpointing=True, callbacks=[best])
    trainer.validate(Scored([0.0]), DataLoader(TensorDataset(torch.ones(1))), verbose=False)
    assert kept(tmp_path) == [1]
    assert best._noted is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("val/score", "least"), "expected mode min or max and keep of at least 1, got least and 1"),
        (("val/score", "min", 0), "expected mode min or max and keep of at least 1, got min and 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        BestCheckpoint(*arguments)


def test_a_value_that_is_not_logged_is_named_with_those_that_are(tmp_path: Path) -> None:
    trainer = quiet_trainer(
        tmp_path, max_steps=1, limit_val_batches=1, val_check_interval=1, enable_checkpointing=True,
        callbacks=[BestCheckpoint("val/los", "min")],
    )  # fmt: skip
    ones = DataLoader(TensorDataset(torch.ones(2)))
    with pytest.raises(UserError, match=r"got val/los: give one of val/score$"):
        trainer.fit(Scored([1.0, 1.0]), ones, ones)


def test_two_would_share_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one BestCheckpoint, got several"):
        fit(tmp_path, [NAN, 1.0], BestCheckpoint("val/other", "max"))


def test_scores_by_something_else_are_not_compared(tmp_path: Path) -> None:
    fit(tmp_path, [NAN, 1.0], RollingCheckpoint(1))
    with pytest.raises(UserError, match=r"scores.json: expected scores by val/score \(max\), got val/score \(min\)"):
        fit(tmp_path, [NAN, 1.0, 2.0], RollingCheckpoint(1), mode="max")


def test_the_best_are_exported_and_no_fit_goes_on_from_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    write_start(tmp_path, model_directory())
    best = "{class_path: music_flamingo.callbacks.BestCheckpoint, init_args: {monitor: val/loss, mode: max, keep: 2}}"
    rolling = "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 1, keep: 9}}"
    words = fit_words(
        tmp_path,
        **{
            "trainer.callbacks": f"[{best}, {rolling}]",
            "trainer.limit_val_batches": 1,
            "trainer.val_check_interval": 1,
            "trainer.num_sanity_val_steps": 0,
        },
    )
    assert main(words) == 0
    assert kept(tmp_path / "stage") == [1, 2]
    chosen = tmp_path / "stage" / "best" / "step-00000002.ckpt"
    card = export(chosen, tmp_path / "best")
    export(checkpoint(tmp_path, 2), tmp_path / "rolling")
    ours, theirs = weights(tmp_path / "best"), weights(tmp_path / "rolling")
    assert all(torch.equal(ours[name], each) for name, each in theirs.items())
    assert card.data.license_name == LICENCE["license_name"]
    assert main(["test", *words[1:], f"--ckpt_path={chosen}"]) == 0
    rows = (tmp_path / "stage" / "predictions.jsonl").read_text().splitlines()
    assert {json.loads(row)["step"] for row in rows} == {2}
    capsys.readouterr()
    assert main([*words, f"--ckpt_path={chosen}"]) == 2
    assert "expected a checkpoint to go on from, got weights without optimizer" in capsys.readouterr().err
