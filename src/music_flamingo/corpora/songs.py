"""Opening the songs of a corpus, however they are stored."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut

from music_flamingo.corpora.places import is_url
from music_flamingo.corpora.shar.index import shards_of
from music_flamingo.corpora.shar.songs import SharSongs
from music_flamingo.corpora.song_lines import IndexedSongs, ListedSongs, Songs
from music_flamingo.errors import UserError


def open_songs(corpus: str | Path, split: str) -> Songs:
    """The songs of one split, any of which can be read by its number.

    `cuts_{split}.jsonl.gz` is read at once. Of a plain `cuts_{split}.jsonl`, and of a folder `{split}` of lhotse Shar,
    each song is read when it is asked for, in memory that does not grow with the corpus.

    Args:
        corpus: a folder; of Shar also a URL that fsspec reads, such as `s3://songs`.
        split: train, val or test.

    Raises:
        UserError: the corpus holds no such split, or holds it more than once.
    """
    found = _storages(corpus, split)
    if not found:
        raise UserError(
            f"expected the {split} cuts in {corpus}/cuts_{split}.jsonl.gz, which does not exist, or stored otherwise: "
            "make a corpus there first"
        )
    if len(found) > 1:
        names = " and ".join(place.rsplit("/", 1)[-1] for place in found)
        raise UserError(f"{corpus}: expected the {split} cuts once, got {names}: remove all but one")
    return next(iter(found.values()))(next(iter(found)))


def holds_split(corpus: str | Path, split: str) -> bool:
    """Whether a corpus has songs of a split, in whatever storage."""
    return bool(_storages(corpus, split))


def _storages(corpus: str | Path, split: str) -> dict[str, Callable[[str], Songs]]:
    """Where the songs of a split lie, and what reads them there."""
    folder = str(corpus).rstrip("/")
    manifests: dict[str, Callable[[str], Songs]] = {
        f"{folder}/cuts_{split}.jsonl.gz": lambda place: ListedSongs(Path(place)),
        f"{folder}/cuts_{split}.jsonl": lambda place: IndexedSongs(Path(place)),
    }
    found = {} if is_url(corpus) else {place: read for place, read in manifests.items() if Path(place).exists()}
    shar = f"{folder}/{split}"
    return {**found, shar: SharSongs} if shards_of(shar) else found


class JoinedSongs(Songs):
    """Songs of several corpora, numbered through.

    Args:
        parts: songs of each.
    """

    def __init__(self, parts: Sequence[Songs]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.parts else 0

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        return np.concatenate([part.durations for part in self.parts])

    def _song(self, number: int) -> Cut:
        part = int(np.searchsorted(self._ends, number, side="right"))
        return self.parts[part][number - (int(self._ends[part - 1]) if part else 0)]
