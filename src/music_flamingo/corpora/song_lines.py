"""Songs of a manifest: any of them at once, however many there are."""

import errno
import gzip
import json
import os
import re
import zlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut

from music_flamingo.corpora.cut_line import read_cut, with_paths_below
from music_flamingo.corpora.index_file import Arrays, map_arrays, write_arrays
from music_flamingo.errors import UserError

NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
# A cut as lhotse writes it. Anchored at the line's beginning, so that no duration of something within it is taken.
_DURATION = re.compile(rb'\{"id": ?"(?:[^"\\]|\\.)*", ?"start": ?[-+.\deE]+, ?"duration": ?([-+.\deE]+)[,}]')


class Songs(Sequence[Cut], ABC):
    """Checked cuts of a split, their audio paths resolved. It can be pickled, and sent to loading processes."""

    @property
    @abstractmethod
    def durations(self) -> npt.NDArray[np.float64]:
        """(N,) seconds of each song, without reading the songs; NaN where a line does not tell."""

    @abstractmethod
    def _song(self, number: int) -> Cut:
        """The song of a number from 0 to below the length."""

    @overload
    def __getitem__(self, index: int) -> Cut: ...

    @overload
    def __getitem__(self, index: slice) -> list[Cut]: ...

    def __getitem__(self, index: int | slice) -> Cut | list[Cut]:
        chosen = range(len(self))[index]
        return self._song(chosen) if isinstance(chosen, int) else [self._song(number) for number in chosen]


class ListedSongs(Songs):
    """Songs of a gzip-compressed manifest, all read at once: those of small corpora.

    Raises:
        UserError: the file is not gzip, or a line of it is not a cut with conversations.
    """

    def __init__(self, manifest: Path) -> None:
        self.cuts: list[Cut] = []
        try:
            with gzip.open(manifest, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    cut = read_cut(line, f"{manifest}:{number}")
                    self.cuts.append(with_paths_below(cut, manifest.parent))
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise UserError(
                f"{manifest}: expected gzip-compressed JSON lines, got {error}: make the file again"
            ) from error

    def __len__(self) -> int:
        return len(self.cuts)

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        return np.array([cut.duration for cut in self.cuts], dtype=np.float64)

    def _song(self, number: int) -> Cut:
        return self.cuts[number]


class IndexedSongs(Songs):
    """Songs of a plain manifest, each read when it is asked for, by an index that is made once and kept beside it.

    Raises:
        UserError: the index is broken; on access, the line is not a cut with conversations.
    """

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self._index = line_index(manifest)
        self._file = manifest.open("rb")

    def __len__(self) -> int:
        return len(self._index["durations"])

    def __getstate__(self) -> Path:
        return self.manifest

    def __setstate__(self, manifest: Path) -> None:
        self.__init__(manifest)  # type: ignore[misc]  # in a process of its own: its own file, the same index

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        return self._index["durations"]

    def _song(self, number: int) -> Cut:
        start, end = (int(place) for place in self._index["starts"][number : number + 2])
        line = os.pread(self._file.fileno(), end - start, start)  # no position that forked processes would share
        return with_paths_below(read_cut(line, f"{self.manifest}:{number + 1}"), self.manifest.parent)


def line_index(manifest: Path) -> Arrays:
    """Where the lines of a manifest lie: `starts`, (N + 1,) bytes, and `durations`, (N,) seconds.

    It is kept in a file of the same name with `.index` behind it, and made again once the manifest's size or time of
    change is another. In a folder that cannot be written to it stays in memory.

    Raises:
        UserError: the file of that name is no index.
    """
    path = manifest.with_name(f"{manifest.name}.index")
    status = manifest.stat()
    made_for = {"size": status.st_size, "changed_ns": status.st_mtime_ns}
    if path.exists():
        index, about = map_arrays(path)
        if about == made_for:
            return index
    index = _find_lines(manifest)
    try:
        write_arrays(path, index, made_for)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        return index
    return map_arrays(path)[0]


def _find_lines(manifest: Path) -> Arrays:
    starts, durations, place = array("Q", [0]), array("d"), 0
    with manifest.open("rb") as lines:
        for line in lines:
            place += len(line)
            starts.append(place)
            durations.append(line_duration(line))
    return {"starts": np.array(starts, dtype="<u8"), "durations": np.array(durations, dtype="<f8")}


def line_duration(line: bytes) -> float:
    """Seconds of the cut in a line; NaN where there is none, which is complained about when the song is read."""
    found = _DURATION.match(line)
    try:
        return float(found[1] if found else json.loads(line)["duration"])
    except (ValueError, KeyError, TypeError):
        return float("nan")
