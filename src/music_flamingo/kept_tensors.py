"""Tensors computed once and kept on disk, whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from music_flamingo.errors import UserError


def kept_tensors(path: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `path` holds; where it does not exist, what is computed, which it holds from then on.

    Several processes may ask for the same file at the same time: each computes it, and one of them is kept.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file(compute(), partial)
        partial.replace(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path}: expected kept tensors, got a damaged file ({error}): remove it, and it is made again"
        ) from error
