"""Grouping records by song without holding them: spread over files by a hash of the song, then one file at a time."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from music_flamingo.corpora.formats.record import NotImportedError
from music_flamingo.corpora.formats.song_splits import stable_hash

NUM_BUCKETS = 256
"""Always as many, so that the order of songs does not depend on how much there is to import."""


class SongBuckets:
    """Files of entries; those of one song are in one of them, in the order they came.

    Args:
        folder: where the files are made.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"bucket_{number:03}.jsonl" for number in range(NUM_BUCKETS)]
        self._open = ExitStack()

    def __enter__(self) -> "SongBuckets":
        self._files = [self._open.enter_context(path.open("wb", buffering=1 << 15)) for path in self._paths]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, song: str, entry: dict[str, Any]) -> None:
        """Put an entry to those of its song.

        Raises:
            NotImportedError: it holds what JSON cannot, such as half a Unicode character.
        """
        try:
            line = orjson.dumps([song, entry], option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError as error:
            raise NotImportedError("a value that JSON cannot hold") from error
        self._files[stable_hash(song) % NUM_BUCKETS].write(line)

    def songs(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """Song -> its entries, bucket by bucket; each file is removed once it is read."""
        for path in self._paths:
            songs: dict[str, list[dict[str, Any]]] = {}
            with path.open("rb") as lines:
                for line in lines:
                    song, entry = orjson.loads(line)
                    songs.setdefault(song, []).append(entry)
            path.unlink()
            yield songs
