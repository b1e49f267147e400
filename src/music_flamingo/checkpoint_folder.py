"""A checkpoint as a folder that says whether it is whole.

    step-00000120.ckpt/
        rank-00000.safetensors   what the first rank holds of each tensor: all of it, or some of its rows
        rank-00001.safetensors
        manifest.json            where each tensor's rows are, size and SHA-256 of each file, and all that is no tensor

Each rank writes its own file, brings it to the disk and then says so in `rank-00000.json`. The first rank waits for all
of those, without a word over the network, and writes the manifest: a folder without one is not a checkpoint. Reading
needs neither as many ranks as wrote nor the same division of tensors.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.plain_state import from_json

SUFFIX, MANIFEST = ".ckpt", "manifest.json"
FORMAT = 1
BLOCK_BYTES = 1 << 20
PATIENCE_SECONDS = 1800.0
"""The longest that the first rank waits for the others' files."""


class Rows(NamedTuple):
    """What a rank holds of a tensor: `values` are its rows from `start` on, `shape` is that of the whole."""

    values: Tensor
    start: int
    shape: tuple[int, ...]


def write_rank(folder: Path, rank: int, tensors: Mapping[str, Rows]) -> None:
    """Write one rank's file and what it says of it.

    Raises:
        UserError: there is no room, or no right to write.
    """
    path = folder / f"rank-{rank:05d}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: rows.values.contiguous() for name, rows in tensors.items()}, path)
        _sync(path)
        held = {name: {"start": rows.start, "shape": list(rows.shape)} for name, rows in tensors.items()}
        report = {"bytes": path.stat().st_size, "sha256": _digest(path), "tensors": held}
        _write_synced(path.with_suffix(".json"), json.dumps(report))
    except (OSError, SafetensorError) as error:
        raise _no_room(folder, error) from error


def write_manifest(folder: Path, num_ranks: int, state: Any, abandoned: Event | None = None) -> None:
    """Wait for the files of all ranks, and make the folder a checkpoint.

    Args:
        folder: of the checkpoint.
        num_ranks: that write a file.
        state: `plain_state.as_json` of the checkpoint.
        abandoned: once set, nobody waits for files that are not there: a rank may have died.

    Raises:
        UserError: a rank's file does not come, or there is no room.
    """
    files, tensors = {}, dict[str, Any]()
    for path in [folder / f"rank-{rank:05d}.json" for rank in range(num_ranks)]:
        report = json.loads(_await(path, abandoned or Event()).read_text())
        name = f"{path.stem}.safetensors"
        files[name] = {"bytes": report["bytes"], "sha256": report["sha256"]}
        for tensor, held in report["tensors"].items():
            entry = tensors.setdefault(tensor, {"shape": held["shape"], "pieces": []})
            entry["pieces"].append([held["start"], name])
    content = json.dumps({"format": FORMAT, "files": files, "tensors": tensors, "state": state})
    seal = hashlib.sha256(content.encode()).hexdigest()
    try:
        _write_synced(folder / MANIFEST, f"{content}\n{seal}\n")
        _sync(folder)
        _sync(folder.parent)
        for rank in range(num_ranks):
            (folder / f"rank-{rank:05d}.json").unlink()
    except OSError as error:
        raise _no_room(folder, error) from error


def step_name(step: int) -> str:
    """Of the checkpoint after so many optimizer steps; names sort as steps do."""
    return f"step-{step:08d}{SUFFIX}"


def newest_first(folder: Path) -> list[Path]:
    """A folder's checkpoints, whole or not."""
    paths = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.name, reverse=True)
    return [path for path in paths if not path.name.startswith(".")]


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; what is left if the process ends meanwhile is none."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint is, to the last bit, as it was written."""
    return damage(folder) is None


def damage(folder: Path) -> str | None:
    """What of a checkpoint is not as it was written; None where all is."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return MANIFEST
    with ThreadPoolExecutor() as pool:
        sound = pool.map(lambda item: _is_as_written(folder / item[0], item[1]), manifest["files"].items())
        return next((name for name, ok in zip(manifest["files"], sound, strict=True) if not ok), None)


class CheckpointFolder:
    """A checkpoint to read.

    Args:
        folder: of the checkpoint.

    Raises:
        UserError: it is not whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        damaged, manifest = damage(folder), _read_manifest(folder)
        if damaged is not None or manifest is None:
            raise UserError(
                f"{folder}: expected a whole checkpoint, got one whose {damaged} is missing or damaged: give another; "
                "--ckpt_path last, or for `export` the run's folder, takes the newest whole one"
            )
        self.tensors: dict[str, Any] = manifest["tensors"]
        self._state = manifest["state"]
        self._open: dict[str, Any] = {}

    def state(self, tensor: Callable[[str], Tensor] | None = None) -> dict[str, Any]:
        """The checkpoint, each tensor as the function gives it for its name: by default read whole."""
        loaded: dict[str, Any] = from_json(self._state, tensor or self.read)
        return loaded

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a whole tensor."""
        return tuple(self.tensors[name]["shape"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows of a tensor, whichever files they are in; a number is read whole."""
        shape = self.shape(name)
        pieces = sorted(self.tensors[name]["pieces"])
        if not shape:
            return cast(Tensor, self._file(pieces[0][1]).get_tensor(name))
        stop = shape[0] if stop is None else stop
        found = [self._overlap(name, file, first, start, stop) for first, file in pieces]
        return torch.cat(found) if len(found) > 1 else found[0]

    def _overlap(self, name: str, file: str, first: int, start: int, stop: int) -> Tensor:
        piece = self._file(file).get_slice(name)
        last = first + piece.get_shape()[0]
        begin = min(max(start, first), last)
        return cast(Tensor, piece[begin - first : max(begin, min(stop, last)) - first])

    def _file(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = safe_open(self.folder / name, framework="pt")
        return self._open[name]


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        content, seal, rest = (folder / MANIFEST).read_bytes().split(b"\n")
    except (OSError, ValueError):
        return None
    if rest or hashlib.sha256(content).hexdigest().encode() != seal:
        return None
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def _is_as_written(path: Path, described: Mapping[str, Any]) -> bool:
    try:
        return bool(path.stat().st_size == described["bytes"] and _digest(path) == described["sha256"])
    except OSError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _await(path: Path, abandoned: Event) -> Path:
    end = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        if abandoned.is_set() or time.monotonic() > end:
            raise UserError(
                f"{path}: expected every rank's part of a checkpoint within {PATIENCE_SECONDS:g} s, got none from this "
                "one: all ranks need the same run folder, on storage they share, and have to live"
            )
        time.sleep(0.01)
    return path


def _write_synced(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_room(folder: Path, error: Exception) -> UserError:
    cause = error.strerror if isinstance(error, OSError) else error
    return UserError(
        f"{folder}: expected to write a checkpoint, got {cause}: make room or give another folder; checkpoints written "
        "before are as they were"
    )
