"""A checkpoint as one file that says whether it is whole.

The file is what `torch.save` writes, which `torch.load` reads as ever, and behind it a seal: the SHA-256 of all before
it and eight letters. It is written beside its place, brought to the disk, and moved there: under its own name there is
never a part of it. A file that was cut or changed later has another hash than its seal says.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch

from music_flamingo.errors import UserError

SEAL_NAME = b"MFSHA256"
SEAL_BYTES = hashlib.sha256().digest_size + len(SEAL_NAME)
BLOCK_BYTES = 1 << 20


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint: afterwards the file is whole and on the disk, or the one before is as it was.

    Raises:
        UserError: there is no room, or no right to write.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            hashing = _HashingFile(file)
            torch.save(checkpoint, cast(IO[bytes], hashing))
            file.write(hashing.hash.digest() + SEAL_NAME)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise UserError(
            f"{path}: expected to write a checkpoint, got {cause.strerror}: make room or give another folder; "
            "checkpoints written before are as they were"
        ) from error
    finally:
        _remove(partial)


def newest_first(folder: Path) -> list[Path]:
    """A folder's checkpoints, whole or not."""
    return sorted(folder.glob("*.ckpt"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is, to the last bit, as it was written."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - SEAL_BYTES
        if size < 0:
            return False
        file.seek(0)
        digest = hashlib.sha256()
        while size:
            block = file.read(min(size, BLOCK_BYTES))
            digest.update(block)
            size -= len(block)
        return file.read() == digest.digest() + SEAL_NAME


class _HashingFile:
    """What torch.save needs of a file, hashing what goes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:  # a folder that takes no files gives none back
        return
