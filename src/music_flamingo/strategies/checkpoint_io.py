"""Checkpoints in folders, written while training goes on.

`trainer.save_checkpoint` returns as soon as weights and moments are copied: a thread writes the copies. The next
checkpoint, and the end of training, wait for it. Where there is no memory for copies, training waits.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from torch import Tensor
from torch.distributed.tensor import DTensor

from music_flamingo.checkpoint_folder import CheckpointFolder, Rows, remove_checkpoint, write_manifest, write_rank
from music_flamingo.plain_state import as_json, tensors_of
from music_flamingo.strategies.divided_tensors import rows_of


class FolderCheckpointIO(CheckpointIO):
    """Writes and reads checkpoints as folders, see `checkpoint_folder`; files with pickled objects it cannot read.

    Attributes:
        asynchronous: whether training goes on while copies are written.
    """

    def __init__(self) -> None:
        self.asynchronous = True
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None
        self._abandoned = Event()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Begin to write a checkpoint of which this process holds everything."""
        self.save_part(checkpoint, Path(path), rank=0, num_ranks=1)

    def save_part(
        self, checkpoint: Mapping[str, Any], folder: Path, *, rank: int, num_ranks: int, writes_whole: bool = False
    ) -> None:
        """Begin to write what a rank holds of a checkpoint; all ranks do.

        Args:
            checkpoint: with tensors that FSDP2 divided, whole ones, and what another rank writes.
            folder: of the checkpoint.
            rank: of this process.
            num_ranks: that write.
            writes_whole: only this rank has what is whole in `checkpoint`; else all have it, and the first writes it.
        """
        self.finish()
        state = as_json(checkpoint)
        held = dict(tensors_of(checkpoint))
        which = {"writes_whole": writes_whole or rank == 0, "copy": self.asynchronous or tied(held.values())}
        parts = {name: rows for name, tensor in held.items() if (rows := rows_of(tensor, **which))}
        self._written = self._thread.submit(_write, folder, rank, num_ranks, parts, state, self._abandoned)
        if not self.asynchronous:
            self.finish()

    def finish(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            UserError: it could not be written.
        """
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def abandon(self) -> None:
        """Write what this process has, and do not wait for others, of which one may have died."""
        self._abandoned.set()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """A checkpoint whose tensors are whole on this process."""
        return CheckpointFolder(Path(path)).state()

    def remove_checkpoint(self, path: Any) -> None:
        remove_checkpoint(Path(path))

    def teardown(self) -> None:
        self.finish()


def tied(tensors: Iterable[Tensor]) -> bool:
    """Whether two of them are one in memory, which safetensors does not write."""
    places = [tensor.data_ptr() for tensor in tensors if not isinstance(tensor, DTensor) and tensor.numel()]
    return len(set(places)) < len(places)


def _write(folder: Path, rank: int, num_ranks: int, parts: Mapping[str, Rows], state: Any, abandoned: Event) -> None:
    write_rank(folder, rank, parts)
    if rank == 0:
        write_manifest(folder, num_ranks, state, abandoned)
