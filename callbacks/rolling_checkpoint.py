"""Checkpoints from which a killed run goes on."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from music_flamingo.checkpoint_file import is_whole, newest_first, write_checkpoint
from music_flamingo.errors import UserError

UnpicklingError = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]
"""What `torch.load` raises with `weights_only` where a file holds more than tensors and plain values."""


class SealedCheckpointIO(TorchCheckpointIO):
    """Writes and reads checkpoints that say whether they are whole, see `checkpoint_file`; others it refuses."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        if not is_whole(Path(path)):
            raise UserError(
                f"{path}: expected a whole checkpoint, got one that was cut, changed, or written by another program: "
                "give another, or --ckpt_path last for the newest whole one"
            )
        try:
            return super().load_checkpoint(path, map_location, weights_only)
        except (UnpicklingError, EOFError, RuntimeError) as error:
            raise UserError(
                f"{path}: expected tensors and plain values, got {str(error).splitlines()[0]}: give a checkpoint that "
                "`fit` wrote"
            ) from error


class RollingCheckpoint(Checkpoint):
    """Writes a checkpoint every so many optimizer steps and at the end, and keeps the newest.

    They are `checkpoints/step-00000120.ckpt` below the run's folder. An interrupted fit goes on from the newest when
    its command is given again.

    Args:
        every_steps: optimizer steps between two.
        keep: how many stay; with two, one is there whatever happens to the other.
    """

    def __init__(self, every_steps: int = 100, keep: int = 2) -> None:
        if every_steps < 1 or keep < 1:
            raise UserError(
                f"RollingCheckpoint: expected every_steps and keep of at least 1, got {every_steps} and {keep}"
            )
        self.every_steps = every_steps
        self.keep = keep
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        if trainer.is_global_zero:
            for partial in _folder(trainer).glob(".*.ckpt.partial"):  # of a process that was killed while it wrote
                partial.unlink()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step // self.every_steps > self._last_step // self.every_steps:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > self._last_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._last_step = trainer.global_step
        trainer.save_checkpoint(_folder(trainer) / f"step-{trainer.global_step:08d}.ckpt")
        if trainer.is_global_zero:
            for path in newest_first(_folder(trainer))[self.keep :]:
                path.unlink()


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"
