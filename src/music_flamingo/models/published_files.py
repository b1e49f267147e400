"""Which tensors a published checkpoint holds, read without running anything that is in it."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.models.published_names import first_names

PICKLED = (".pt", ".pth", ".bin")
WEIGHTS_KEYS = ("model", "state_dict", "model_state_dict")
"""Under which of its keys a training checkpoint keeps the weights."""
DATA_PARALLEL = "module."
"""What PyTorch's data parallel training puts before every name."""

_UnpicklingError = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]
_DAMAGES = (OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError)
"""What torch.load raises of bytes that torch.save did not write, or not to the end."""
_CALLED = re.compile(r"GLOBAL (\S+)")


def published_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint by name; they stay on the disk until they are read, where the format allows it.

    Of a training checkpoint the weights are taken; before names, `module.` is left out.

    Args:
        path: .safetensors, .pt, .pth or .bin, or a folder of .safetensors whose tensors belong together.

    Raises:
        UserError: there is no such file, it is damaged, it would run code, or it holds something else.
    """
    named = _of_folder(path) if path.is_dir() else _of_file(path)
    if not named:
        raise UserError(f"{path}: expected a checkpoint's tensors, got none: give another file")
    if all(name.startswith(DATA_PARALLEL) for name in named):
        return {name.removeprefix(DATA_PARALLEL): tensor for name, tensor in named.items()}
    return named


def _of_folder(folder: Path) -> dict[str, Tensor]:
    together: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        chunk = _of_safetensors(path)
        twice = sorted(together.keys() & chunk.keys())
        if twice:
            raise UserError(f"{path}: expected each tensor in one chunk, got {first_names(twice)} in another one too")
        together |= chunk
    if not together:
        raise UserError(f"{folder}: expected chunks *.safetensors in the folder, got none: give the file or its folder")
    return together


def _of_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: expected a checkpoint, got no such file")
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    if path.suffix in PICKLED:
        return _of_torch(path)
    raise UserError(
        f"{path}: expected .safetensors, {', '.join(PICKLED)} or a folder, got {path.suffix or 'no suffix'}"
    )


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: expected a whole .safetensors file, got {error}: fetch it again") from error


def _of_torch(path: Path) -> dict[str, Tensor]:
    try:
        # torch.save before version 1.6 did not write zip files, and only those can stay on the disk.
        loaded = torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except _UnpicklingError as error:
        called = _CALLED.search(str(error))
        what = f"code ({first_names([called[1]])}), which was not run" if called else "other things"
        raise UserError(
            f"{path}: expected tensors and plain values, got {what}: give a file of tensors alone"
        ) from error
    except _DAMAGES as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: expected a whole file that torch.save wrote, got {said}: fetch it again") from error
    return _weights_of(path, loaded)


def _weights_of(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path}: expected tensors by name, got {type(loaded).__name__}: give another file")
    within = next((loaded[key] for key in WEIGHTS_KEYS if isinstance(loaded.get(key), Mapping)), loaded)
    others = [name for name, value in within.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others:
        raise UserError(
            f"{path}: expected tensors by name, alone or as {', '.join(WEIGHTS_KEYS)}, got {first_names(others)} too: "
            "give another file"
        )
    return {name: tensor.detach() for name, tensor in within.items()}
