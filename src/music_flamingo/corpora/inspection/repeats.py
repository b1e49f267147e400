"""Which songs of a corpus are there twice: by id, by file, and by decoded content."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from music_flamingo.corpora.inspection.audio_scan import AudioJob
from music_flamingo.corpora.inspection.file_range import FileRange
from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.songs import SPLITS


class _Song(NamedTuple):
    split: int
    cut: str
    path: str

    def finding(self, kind: str, detail: str) -> Finding:
        return Finding(kind, detail, cut=self.cut, split=SPLITS[self.split], path=self.path)


class Repeats:
    """Collects songs in any order, then tells which are the same."""

    def __init__(self) -> None:
        self._splits_of_id: dict[str, list[str]] = {}
        self._of_file: dict[str | FileRange, set[_Song]] = {}
        self._of_content: dict[str, set[_Song]] = {}

    def add_id(self, cut: str, split: str) -> None:
        self._splits_of_id.setdefault(cut, []).append(split)

    def add_files(self, job: AudioJob) -> None:
        """Remember where a song's audio lies: two excerpts of one file are one song."""
        for file in job.files:
            if not isinstance(file.content, bytes):
                self._of_file.setdefault(file.content, set()).add(_song(job))

    def add_content(self, job: AudioJob, digest: str) -> None:
        self._of_content.setdefault(digest, set()).add(_song(job))

    def findings(self) -> Iterator[Finding]:
        """Each repeated song.

        Of songs in two splits the copies outside the last split, so that what is held out stays so; of songs within a
        split all but the first by id.
        """
        for cut, splits in self._splits_of_id.items():
            if len(splits) > 1:
                yield Finding("duplicate_id", f"{len(splits)} songs: {', '.join(splits)}", cut=cut, split=splits[0])
        leaks: dict[_Song, Finding] = {}
        for words, groups in (("the same samples as", self._of_content), ("the same file as", self._of_file)):
            for songs in groups.values():
                for song, other in _leaks(songs):
                    detail = f"{words} {other.cut} in {SPLITS[other.split]}"
                    leaks.setdefault(song, song.finding("leak", detail))
        yield from leaks.values()
        for songs in self._of_content.values():
            for song, other in _duplicates(songs):
                yield song.finding("duplicate_audio", f"the same samples as {other.cut}")


def _song(job: AudioJob) -> _Song:
    return _Song(SPLITS.index(job.split), job.cut, job.files[0].shown)


def _leaks(songs: Iterable[_Song]) -> list[tuple[_Song, _Song]]:
    """(copy outside the last split, first copy in it)."""
    ordered = sorted(songs)
    held_out = next(song for song in ordered if song.split == ordered[-1].split)
    return [(song, held_out) for song in ordered if song.split < held_out.split]


def _duplicates(songs: Iterable[_Song]) -> list[tuple[_Song, _Song]]:
    """(later copy, first copy) within a split."""
    firsts: dict[int, _Song] = {}
    pairs = [(song, firsts.setdefault(song.split, song)) for song in sorted(songs)]
    return [(song, first) for song, first in pairs if song != first]
