"""Arrays kept in a file and mapped into memory: an index of any size is open at once, and many processes share it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from music_flamingo.errors import UserError

Arrays = dict[str, npt.NDArray[Any]]
DTYPES = {"U64": "<u8", "I64": "<i8", "F64": "<f8"}
"""safetensors' names of the types an index may hold."""


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Keep arrays of 64-bit numbers as safetensors, whole or not at all; `about` is anything JSON can say."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(save(dict(arrays), {"about": json.dumps(about)}))
    partial.replace(path)


def map_arrays(path: Path) -> tuple[Arrays, Any]:
    """What `write_arrays` wrote; the arrays are read from the file when they are looked into.

    Raises:
        UserError: the file is no such index, or not all of it.
    """
    try:
        with safe_open(path, framework="numpy") as checked:  # header and length agree, or it raises
            about = json.loads((checked.metadata() or {})["about"])
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__")
        return {name: _map(path, tensor, 8 + length) for name, tensor in header.items()}, about
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: expected an index of songs, got {_first_line(error)}: remove it, and it is made again"
        ) from error


def _map(path: Path, tensor: Any, start: int) -> npt.NDArray[Any]:
    dtype, shape = DTYPES[tensor["dtype"]], tuple(tensor["shape"])
    if 0 in shape:
        return np.empty(shape, dtype)  # nothing cannot be mapped
    return np.memmap(path, dtype, "r", start + tensor["data_offsets"][0], shape)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
