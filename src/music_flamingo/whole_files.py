"""Files and folders that are there whole or not at all, whenever the process ends."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from music_flamingo.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text`. Halves of characters, which JSON may hold, are written as JSON writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    partial.replace(path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which has the name `path` from the end of the block on; where the block fails, it is removed.

    Raises:
        UserError: there is something at `path` that is not an empty folder, or no room or right to write.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path}: expected a new or empty folder, got one with files: give another, or remove it")
    partial = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: expected to write a folder, got {error.strerror or error}: give another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
