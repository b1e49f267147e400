"""In which order come an epoch's songs, and how often those of each of several corpora?"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from music_flamingo.errors import UserError


@dataclass(frozen=True)
class Source:
    """One corpus of a blend.

    Args:
        corpus: its folder.
        passes: visits of each of its songs in an epoch. With 0.25 an epoch visits a quarter of the songs, and four
            epochs visit all.

    Raises:
        UserError: `passes` is not above 0.
    """

    corpus: str
    passes: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.passes < math.inf:
            raise UserError(f"{self.corpus}: expected passes above 0, got {self.passes:g}: leave the source out")


@dataclass(frozen=True)
class Blend:
    """Several corpora as one.

    Args:
        sources: corpora and how often each is passed through in an epoch.
        temperature: above 1, small corpora get a larger share of the visits than their passes say: visits are
            proportional to (songs x passes) ** (1 / temperature), their sum stays.

    Raises:
        UserError: no sources, or a temperature that is not above 0.
    """

    sources: Sequence[Source]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.sources:
            raise UserError("Blend.sources: expected at least one corpus, got none: name them in the recipe")
        if not self.temperature > 0:
            raise UserError(
                f"Blend.temperature: expected a number above 0, got {self.temperature:g}: 1 changes nothing"
            )

    def passes(self, sizes: Sequence[int]) -> list[float]:
        """Of each source, given the number of its songs."""
        visits = [size * source.passes for size, source in zip(sizes, self.sources, strict=True)]
        tempered = [v ** (1 / self.temperature) for v in visits]
        scale = sum(visits) / max(sum(tempered), 1e-300)
        return [t * scale / size if size else 0.0 for t, size in zip(tempered, sizes, strict=True)]


class Visit(NamedTuple):
    """A song's turn in an epoch.

    Args:
        song: its index among all songs.
        number: of the song's visits in this epoch, from 0.
    """

    song: int
    number: int


@dataclass(frozen=True)
class SongOrder:
    """The order of every epoch, from the numbers of songs and the seed alone.

    Songs are numbered through all sources.

    Args:
        sizes: songs of each source.
        passes: of each source.
        seed: of the order.
    """

    sizes: tuple[int, ...]
    passes: tuple[float, ...]
    seed: int = 0

    def epoch(self, number: int) -> Sequence[Visit]:
        """An epoch's visits in their order."""
        songs: list[int] = []
        for source, (size, passes) in enumerate(zip(self.sizes, self.passes, strict=True)):
            start = sum(self.sizes[:source])
            songs.extend(start + song for song in songs_of_epoch(size, passes, number, f"{self.seed} {source}"))
        random.Random(self.seed + number).shuffle(songs)  # as lhotse's samplers do
        return _Epoch(songs, again=any(passes > 1 for passes in self.passes))


def songs_of_epoch(size: int, passes: float, epoch: int, seed: str) -> list[int]:
    """Every song `passes` times.

    What is not whole passes goes on where the epoch before ended, in an order drawn anew for each time through.
    """
    whole = int(passes)
    first, end = (round((passes - whole) * size * e) for e in (epoch, epoch + 1))
    part: list[int] = []
    while first < end:
        time_through, start = divmod(first, size)
        stop = min(size, start + end - first)
        shuffled = list(range(size))
        random.Random(f"{seed} {time_through}").shuffle(shuffled)
        part.extend(shuffled[start:stop])
        first += stop - start
    return list(range(size)) * whole + part


class _Epoch(Sequence[Visit]):
    """Visits made when they are asked for: a million songs are a list of numbers."""

    def __init__(self, songs: list[int], *, again: bool) -> None:
        self.songs = songs
        self.numbers = list(_count_earlier(songs)) if again else None

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, place: int) -> Visit:  # type: ignore[override]  # no slices
        return Visit(self.songs[place], self.numbers[place] if self.numbers else 0)


def _count_earlier(songs: Iterable[int]) -> Iterator[int]:
    """How often each song came before."""
    seen: Counter[int] = Counter()
    for song in songs:
        yield seen[song]
        seen[song] += 1
