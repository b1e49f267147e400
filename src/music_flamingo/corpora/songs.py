"""Opening the songs of a corpus, however they are stored."""

from collections.abc import Sequence
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
    shar = f"{str(corpus).rstrip('/')}/{split}"
    if is_url(corpus):
        if not shards_of(shar):
            raise UserError(f"expected the {split} cuts as Shar in {shar}, which holds none: check the URL")
        return SharSongs(shar)
    compressed, plain = (Path(corpus) / f"cuts_{split}.{ending}" for ending in ("jsonl.gz", "jsonl"))
    found = [path for path in (compressed, plain) if path.exists()]
    found += [Path(shar)] if shards_of(shar) else []
    if not found:
        raise UserError(f"expected the {split} cuts in {compressed}, which does not exist: make a corpus there first")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"{corpus}: expected the {split} cuts once, got {names}: remove all but one")
    if found == [plain]:
        return IndexedSongs(plain)
    return ListedSongs(compressed) if found == [compressed] else SharSongs(shar)


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
