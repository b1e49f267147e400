"""Where each song of a Shar split lies: the index that gives random access to what lhotse reads from end to end."""

import gzip
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.index_file import Arrays, map_arrays, write_arrays
from music_flamingo.corpora.places import cache_folder, file_sizes, is_url, read_bytes
from music_flamingo.corpora.shar.members import Member, list_members
from music_flamingo.errors import UserError

ARRAYS = "songs.index"
LINES = "cuts.jsonl"
HEARD = re.compile(r"recording|sound_\d+")
"""Names of the fields that are audio; others that lhotse may have stored are left alone."""
NO_DATA = ".nodata"
SHARD = "shard"
COLUMNS = ("start", "size", "about_start", "about_size")

Shard = dict[str, tuple[str, int]]
"""Name and bytes of a shard's files, by field, `cuts` among them."""


@dataclass(frozen=True)
class SharIndex:
    """What is known of a split.

    Args:
        arrays: `line_start`, `line_size` and `duration` of each song, its number of `shard`, and for each field the
            `COLUMNS` of `StoredSound`, as `recording.start`.
        shards: their files.
        lines: one file that holds all cuts; None where each shard's own is plain text.
    """

    arrays: Arrays
    shards: list[Shard]
    lines: Path | None


def shards_of(split: str) -> list[Shard]:
    """The shards in a folder or URL, in their order; none where there are no cuts.

    Raises:
        UserError: a field has more or fewer files than there are cuts files.
    """
    files: dict[str, list[tuple[str, int]]] = {}
    for name, size in file_sizes(split).items():
        field = name.split(".")[0]
        if (field == "cuts" and ".jsonl" in name) or (HEARD.fullmatch(field) and name.endswith(".tar")):
            files.setdefault(field, []).append((name, size))
    shards = len(files.get("cuts", ()))
    for field, found in files.items():
        if shards and len(found) != shards:
            raise UserError(
                f"{split}: expected {field} files for {shards} cuts files, got {len(found)}: some are missing"
            )
    return [{field: found[number] for field, found in files.items()} for number in range(shards)]


def open_index(split: str) -> tuple[Path, SharIndex]:
    """The index of a split, and its folder: beside the split, or else in the user's cache, where it is made if need be.

    Raises:
        UserError: an index is broken or that of other files, or the split cannot be indexed.
    """
    shards = shards_of(split)
    beside = _beside(split)
    if beside is not None and (beside / ARRAYS).exists():
        index = read_index(beside)
        _check_same(split, shards, index.shards)
        return beside, index
    cached = cache_folder(split)
    if (cached / ARRAYS).exists() and (index := read_index(cached)).shards == shards:
        return cached, index
    folder = beside if beside is not None and _can_write(beside) else cached
    return folder, make_index(split, folder)


def read_index(folder: Path) -> SharIndex:
    """An index that was made before.

    Raises:
        UserError: it is broken.
    """
    arrays, about = map_arrays(folder / ARRAYS)
    try:
        shards = [{field: (name, size) for field, (name, size) in shard.items()} for shard in about["shards"]]
        lines = folder / LINES if about["lines_size"] is not None else None
        index = SharIndex(arrays, shards, lines)
        columns = [name for field in fields_of(index) for _, name in array_names(field)]
        shapes = {arrays[name].shape for name in ("line_start", "line_size", "duration", SHARD, *columns)}
        if len(shapes) > 1 or not all(array.ndim == 1 for array in arrays.values()):
            raise ValueError(f"arrays of different lengths, {shapes}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / ARRAYS}: expected an index of shards, got {type(error).__name__} {error}: remove it, and it is "
            "made again"
        ) from error
    if lines is not None and (not lines.exists() or lines.stat().st_size != about["lines_size"]):
        raise UserError(f"{lines}: expected {about['lines_size']} bytes: remove {folder}, and it is made again")
    return index


def make_index(split: str, folder: Path | None = None) -> SharIndex:
    """Read all cuts and all tar headers of a split once, and keep where everything lies.

    Cuts that are compressed are kept beside the index as they are in plain text, so that any can be read.

    Args:
        split: folder or URL.
        folder: where to keep it; by default beside the split, for a URL in the user's cache.

    Raises:
        UserError: the split holds no shards, or they are broken, or do not belong together.
    """
    folder = folder or _beside(split) or cache_folder(split)
    shards = shards_of(split)
    if not shards:
        raise UserError(f"{split}: expected Shar's cuts.000000.jsonl or .jsonl.gz, got none: check the folder")
    compressed = any(shard["cuts"][0].endswith(".gz") for shard in shards)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with ExitStack() as stack:
        lines = stack.enter_context((partial / LINES).open("wb")) if compressed else None
        console = Console(stderr=True)
        rows = [
            _index_shard(split, number, shard, lines)
            for number, shard in enumerate(track(shards, f"indexing {split}", console=console))
        ]
        size = None if lines is None else lines.tell()
    arrays = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    write_arrays(partial / ARRAYS, arrays, {"shards": shards, "lines_size": size})
    _put(partial, folder)
    return read_index(folder)


def _put(partial: Path, folder: Path) -> None:
    """Another process may have made the same index meanwhile: one of them is kept."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.replace(folder)
    except OSError:
        if not (folder / ARRAYS).exists():
            raise
        shutil.rmtree(partial)


def _index_shard(split: str, number: int, shard: Shard, copy: IO[bytes] | None) -> Arrays:
    """The arrays of one shard's songs; its lines are added to `copy`."""
    name, _ = shard["cuts"]
    place = f"{split}/{name}"
    lines = _text(place).splitlines(keepends=True)
    sizes = np.array([len(line) for line in lines], np.uint64)
    first = 0 if copy is None else copy.tell()
    if copy is not None:
        copy.writelines(lines)
    heads = [_head(line, f"{place}:{count}") for count, line in enumerate(lines, 1)]
    arrays: Arrays = {
        "line_start": first + np.cumsum(sizes, dtype=np.uint64) - sizes,
        "line_size": sizes,
        "duration": np.array([seconds for _, seconds in heads], np.float64),
        SHARD: np.full(len(lines), number, np.uint64),
    }
    ids = [cut_id for cut_id, _ in heads]
    for field, (name, size) in shard.items():
        if field != "cuts":
            tar = f"{split}/{name}"
            rows = np.array(list(_pairs(tar, list_members(tar, size), ids)), np.uint64).reshape(-1, len(COLUMNS))
            arrays |= {f"{field}.{column}": rows[:, k].copy() for k, column in enumerate(COLUMNS)}
    return arrays


def _text(place: str) -> bytes:
    data = read_bytes(place)
    try:
        return gzip.decompress(data) if place.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{place}: expected gzip-compressed cuts, got {error}: make the file again") from error


def _head(line: bytes, place: str) -> tuple[str, float]:
    """Name and seconds of the cut in a line."""
    try:
        cut = json.loads(line)
        return str(cut["id"]), float(cut["duration"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{place}: expected a cut as JSON, got {type(error).__name__} {error}: mend the line"
        ) from error


def _pairs(place: str, members: Sequence[Member], ids: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Start and size of each cut's audio and of the manifest behind it."""
    if len(members) != 2 * len(ids):
        raise UserError(
            f"{place}: expected two members for each of {len(ids)} cuts, got {len(members)}: cut short, or other cuts?"
        )
    for cut_id, audio, about in zip(ids, members[::2], members[1::2], strict=True):
        path = PurePosixPath(audio.name)
        if str(path.parent / path.stem) != cut_id:
            raise UserError(f"{place}: expected audio of cut {cut_id}, got {audio.name}: it belongs to other cuts")
        yield audio.start, 0 if path.suffix == NO_DATA else audio.size, about.start, about.size


def _check_same(split: str, shards: Sequence[Shard], indexed: Sequence[Shard]) -> None:
    """Raise a UserError that names the first file that is another than when the index was made."""
    remedy = "copy it again, or index it anew with music-flamingo data shar-index"
    if len(shards) != len(indexed):
        raise UserError(f"{split}: expected {len(indexed)} shards, as its index says, got {len(shards)}: {remedy}")
    for shard, known in zip(shards, indexed, strict=True):
        if shard.keys() != known.keys():
            raise UserError(
                f"{split}: expected {', '.join(known)}, as its index says, got {', '.join(shard)}: {remedy}"
            )
        for (name, size), (known_name, known_size) in zip(shard.values(), known.values(), strict=True):
            if (name, size) != (known_name, known_size):
                known_as = f"{known_name} of {known_size} bytes"
                raise UserError(f"{split}/{name}: expected {known_as}, as its index says, got {size}: {remedy}")


def _beside(split: str) -> Path | None:
    # Not within: lhotse takes whatever lies in the split's own folder for a field.
    return None if is_url(split) else Path(f"{split}.index")


def _can_write(folder: Path) -> bool:
    probe = folder.with_name(f"{folder.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def array_names(field: str) -> Iterator[tuple[str, str]]:
    """Of a field's audio, each of `StoredSound`'s numbers and the array that holds it."""
    return ((column, f"{field}.{column}") for column in COLUMNS)


def fields_of(index: SharIndex) -> list[str]:
    """The recordings that the songs of a split may have."""
    return [field for field in index.shards[0] if field != "cuts"] if index.shards else []
