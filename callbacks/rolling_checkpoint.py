"""Checkpoints from which a killed run goes on."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from music_flamingo.checkpoint_folder import MANIFEST, newest_first, remove_checkpoint, step_name
from music_flamingo.errors import UserError
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO


class RollingCheckpoint(Checkpoint):
    """Writes a checkpoint every so many optimizer steps and at the end, and keeps the newest.

    They are the folders `checkpoints/step-00000120.ckpt` below the run's folder. Training waits while weights and
    moments are copied, and goes on while the copies are written. An interrupted fit goes on from the newest when its
    command is given again, on as many devices and with whatever strategy.

    Args:
        every_steps: optimizer steps between two.
        keep: how many stay; with two, one is there whatever happens to the other.
        asynchronous: go on training while copies are written; False saves the memory of the copies.
    """

    def __init__(self, every_steps: int = 100, keep: int = 2, asynchronous: bool = True) -> None:
        if every_steps < 1 or keep < 1:
            raise UserError(
                f"RollingCheckpoint: expected every_steps and keep of at least 1, got {every_steps} and {keep}"
            )
        self.every_steps = every_steps
        self.keep = keep
        self.asynchronous = asynchronous
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        folders = trainer.strategy.checkpoint_io
        if isinstance(folders, FolderCheckpointIO):
            folders.asynchronous = self.asynchronous
        if trainer.is_global_zero:
            for path in newest_first(_folder(trainer)):
                # Damaged ones that were passed by, or what a process was killed in the middle of.
                if path.name > step_name(trainer.global_step) or not (path / MANIFEST).exists():
                    remove_checkpoint(path)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step // self.every_steps > self._last_step // self.every_steps:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._last_step:
            self._save(trainer)
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        folders = trainer.strategy.checkpoint_io
        if isinstance(folders, FolderCheckpointIO):
            folders.abandon()

    def save_now(self, trainer: Trainer) -> Path:
        """The checkpoint of the step just ended, written unless it is there; every rank has to ask for it."""
        if trainer.global_step > self._last_step:
            self._save(trainer)
        self._finish(trainer)
        return _folder(trainer) / step_name(trainer.global_step)

    def _save(self, trainer: Trainer) -> None:
        self._finish(trainer)
        self._last_step = trainer.global_step
        trainer.save_checkpoint(_folder(trainer) / step_name(trainer.global_step))

    def _finish(self, trainer: Trainer) -> None:
        """Wait for the checkpoint that is being written, and take away what is older than the newest."""
        folders = trainer.strategy.checkpoint_io
        if isinstance(folders, FolderCheckpointIO):
            folders.finish()
        if trainer.is_global_zero:
            for old in newest_first(_folder(trainer))[self.keep :]:
                remove_checkpoint(old)


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"
