"""Songs of a Shar split, any of them at once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut

from music_flamingo.corpora.cut_line import read_cut
from music_flamingo.corpora.places import read_bytes
from music_flamingo.corpora.shar.index import SharIndex, array_names, fields_of, open_index, read_index
from music_flamingo.corpora.shar.stored import StoredSound, with_places
from music_flamingo.corpora.song_lines import Songs


class SharSongs(Songs):
    """Songs in shards. Each cut says where its audio lies (`custom.shar`), which is fetched when it is listened to.

    Args:
        split: folder or URL with `cuts.000000.jsonl`, `recording.000000.tar` and so on.

    Raises:
        UserError: as `open_index` does; on access, the line is not a cut with conversations.
    """

    def __init__(self, split: str) -> None:
        self.split = split
        self._folder, index = open_index(split)
        self._use(index)

    def __len__(self) -> int:
        return len(self.durations)

    def __getstate__(self) -> tuple[str, Path]:
        return self.split, self._folder

    def __setstate__(self, state: tuple[str, Path]) -> None:
        self.split, self._folder = state
        self._use(read_index(self._folder))  # the shards themselves were looked at once

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        return self._index.arrays["duration"]

    def _use(self, index: SharIndex) -> None:
        self._index = index
        self._fields = fields_of(index)

    def _song(self, number: int) -> Cut:
        arrays = self._index.arrays
        shard_number = int(arrays["shard"][number])
        shard = self._index.shards[shard_number]
        cuts = f"{self.split}/{shard['cuts'][0]}"
        first = int(np.searchsorted(arrays["shard"], shard_number))
        line = read_bytes(
            str(self._index.lines or cuts), int(arrays["line_start"][number]), int(arrays["line_size"][number])
        )
        cut = read_cut(line, f"{cuts}:{number - first + 1}")
        places = {
            field: StoredSound(
                f"{self.split}/{shard[field][0]}",
                **{column: int(arrays[name][number]) for column, name in array_names(field)},
            )
            for field in self._fields
        }
        return with_places(cut, {field: place for field, place in places.items() if place.size})
