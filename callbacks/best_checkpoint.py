"""Weights of the steps that validation liked best."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from music_flamingo.checkpoint_folder import MANIFEST, newest_first, remove_checkpoint, step_name
from music_flamingo.errors import UserError
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from music_flamingo.whole_files import write_text

SCORES = "scores.json"


class BestCheckpoint(Checkpoint):
    """Keeps the weights that scored best in validation, as folders `best/step-00000120.ckpt` below the run's folder.

    They are checkpoints without optimizer: `music-flamingo test --ckpt_path` and `music-flamingo export` take them, a
    fit cannot go on from them. `best/scores.json` has their scores, so that an interrupted fit goes on with them; those
    of steps that it takes again are made again. A validation in which the process died is not repeated, and its step
    not kept. Of equal scores the earlier step stays, and one that is no number is never kept.

    Args:
        monitor: name of a value that validation logs, such as val/loss; on several ranks the first one's counts.
        mode: whether the least or the greatest is best.
        keep: how many stay.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], keep: int = 1) -> None:
        if mode not in ("min", "max") or keep < 1:
            raise UserError(f"BestCheckpoint: expected mode min or max and keep of at least 1, got {mode} and {keep}")
        self.monitor = monitor
        self.mode = mode
        self.keep = keep
        self._scores: dict[int, float] = {}
        self._noted: tuple[int, float] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(each, BestCheckpoint) for each in callbacks) > 1:
            raise UserError("trainer.callbacks: expected one BestCheckpoint, got several, which share a folder")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder, step = _folder(trainer), trainer.global_step
        recorded = self._recorded(folder)
        noted: tuple[int, float] | None = None
        if trainer.is_global_zero:
            for path in newest_first(folder):
                # Of a step that comes again, or what a process was killed in the middle of.
                if path.name > step_name(step) or not (path / MANIFEST).exists():
                    remove_checkpoint(path)
            there = {path.name for path in newest_first(folder)}
            self._scores = {each: score for each, score in recorded.items() if step_name(each) in there}
            if step in recorded and step not in self._scores:
                # It was scored, and its weights, which are here again, were not yet saved.
                noted = step, recorded[step]
        self._noted = trainer.strategy.broadcast(noted)
        if trainer.is_global_zero:
            self._remove_others(folder)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the score; weights are saved later, as divided models are still put together here."""
        fits = trainer.state.fn == TrainerFn.FITTING
        if trainer.sanity_checking or not fits or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        value = trainer.callback_metrics.get(self.monitor)
        score: float | None = trainer.strategy.broadcast(None if value is None else float(value))
        if score is None:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise UserError(
                f"BestCheckpoint.monitor: expected a value logged by the end of validation, got {self.monitor}: give "
                f"one of {logged}"
            )
        self._noted = trainer.global_step, score
        if trainer.is_global_zero:
            self._record(_folder(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._save_noted(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_noted(trainer)
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        folders = trainer.strategy.checkpoint_io
        if isinstance(folders, FolderCheckpointIO):
            folders.abandon()

    def _save_noted(self, trainer: Trainer) -> None:
        if self._noted is None:
            return
        step, score = self._noted
        folder = _folder(trainer)
        # All ranks save or none: the first one knows the scores.
        kept = trainer.strategy.broadcast(self._is_kept(step, score))
        if kept:
            self._finish(trainer)
            self._scores[step] = score
        self._noted = None
        if trainer.is_global_zero:
            self._record(folder)
        if kept:
            trainer.save_checkpoint(folder / step_name(step), weights_only=True)

    def _is_kept(self, step: int, score: float) -> bool:
        return step not in self._scores and step in best_steps({**self._scores, step: score}, self.mode, self.keep)

    def _finish(self, trainer: Trainer) -> None:
        """Wait for weights that are being written, and only then take away those that they are better than."""
        folders = trainer.strategy.checkpoint_io
        if isinstance(folders, FolderCheckpointIO):
            folders.finish()
        if trainer.is_global_zero:
            self._remove_others(_folder(trainer))

    def _remove_others(self, folder: Path) -> None:
        """Leave only the best, and their scores."""
        kept = best_steps(self._scores, self.mode, self.keep)
        self._scores = {step: self._scores[step] for step in sorted(kept)}
        names = {step_name(step) for step in kept}
        for path in newest_first(folder):
            if path.name not in names:
                remove_checkpoint(path)
        if folder.is_dir():
            self._record(folder)

    def _record(self, folder: Path) -> None:
        """Write scores down, that of weights which are still to be saved among them."""
        scores = self._scores if self._noted is None else {**self._scores, self._noted[0]: self._noted[1]}
        record = {"monitor": self.monitor, "mode": self.mode, "scores": scores}
        write_text(folder / SCORES, json.dumps(record, indent=1) + "\n")

    def _recorded(self, folder: Path) -> dict[int, float]:
        path = folder / SCORES
        if not path.is_file():
            return {}
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["monitor"], record["mode"]) != (self.monitor, self.mode):
            raise UserError(
                f"{path}: expected scores by {self.monitor} ({self.mode}), got {record['monitor']} ({record['mode']}): "
                "remove the folder, or go on with the same monitor"
            )
        return {int(step): float(score) for step, score in record["scores"].items()}


def best_steps(scores: Mapping[int, float], mode: str, keep: int) -> set[int]:
    """The steps with the best scores; of equal ones the earlier."""
    sign = 1 if mode == "min" else -1
    ordered = sorted((sign * score, step) for step, score in scores.items() if not math.isnan(score))
    return {step for _, step in ordered[:keep]}


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "best"
