"""Where a record's audio is, whether it may be read, and what its header says."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import soundfile

from music_flamingo.corpora.formats.record import NotImportedError

OUTSIDE = "audio outside the audio root"
_PLAIN = re.compile(r"(?:[^./\0][^/\0]*/)*[^./\0][^/\0]*")
"""A relative path that is spelled in one way only: most are, and to normalise takes longer than to parse the record."""
_TRIED = 4
_WAITING = 8.0
"""Seconds that pass for each second of work from which on a file counts as waited for."""
_HEADERS_KEPT = 100_000
_MOST_FRAMES = 2**62
"""libsndfile gives 2**63 - 1 frames where a header does not tell."""


@dataclass(frozen=True)
class Header:
    """What the header of an audio file says."""

    sampling_rate: int
    num_samples: int
    channels: int

    @property
    def duration(self) -> float:
        return self.num_samples / self.sampling_rate


class AudioFiles:
    """Audio files below a folder.

    Args:
        root: relative paths start here.
        allow_outside: also take files that lie elsewhere.
        threads: headers read at a time where storage is slow.
    """

    def __init__(self, root: Path, *, allow_outside: bool = False, threads: int = 8) -> None:
        self.root = os.path.abspath(root)
        self.allow_outside = allow_outside
        self._real_root = os.path.realpath(root)
        self._threads = threads
        self._cached = lru_cache(_HEADERS_KEPT)(self._read)
        self._real_folder = lru_cache(_HEADERS_KEPT)(os.path.realpath)

    @property
    def headers_read(self) -> int:
        """Files looked at so far."""
        return self._cached.cache_info().misses

    def key(self, path: str) -> str:
        """One name for a file, however its path is written: relative to the root where it lies below it.

        Symbolic links are not followed here, `header` does that.

        Raises:
            NotImportedError: it lies outside, or no file can be called so.
        """
        if "\0" in path:
            raise NotImportedError("no sound file named")
        if _PLAIN.fullmatch(path):
            return path
        full = os.path.normpath(os.path.join(self.root, path))
        if full.startswith(f"{self.root}{os.sep}"):
            return full[len(self.root) + 1 :]
        if self.allow_outside:
            return full
        raise NotImportedError(OUTSIDE)

    def full_path(self, key: str) -> str:
        """The absolute path behind a key."""
        return os.path.join(self.root, key)

    def headers(self, keys: list[str]) -> dict[str, Header | str]:
        """The header of each file, or the reason why there is none.

        Several are read at a time where storage keeps one waiting. Elsewhere threads would take four times as long, as
        libsndfile is called in small steps, and at each of them threads wait for one another.
        """
        first, others = keys[:_TRIED], keys[_TRIED:]
        start, worked = time.perf_counter(), time.thread_time()
        found = {key: self._cached(key) for key in first}
        waits = time.perf_counter() - start > _WAITING * (time.thread_time() - worked)
        if waits and others:
            with ThreadPoolExecutor(self._threads) as pool:
                return found | dict(zip(others, pool.map(self._cached, others), strict=True))
        return found | {key: self._cached(key) for key in others}

    def _read(self, key: str) -> Header | str:
        path = self._real_path(self.full_path(key))
        if not self.allow_outside and not path.startswith(f"{self._real_root}{os.sep}"):
            return OUTSIDE
        if not os.path.isfile(path):
            return "audio missing"
        try:
            # What soundfile.info does, without the log it asks for beside the header.
            with soundfile.SoundFile(path) as sound:
                header = Header(sound.samplerate, sound.frames, sound.channels)
        except (soundfile.LibsndfileError, OSError, ValueError):
            return "audio unreadable"
        if not 0 < header.num_samples < _MOST_FRAMES or header.sampling_rate < 1:
            return "audio without samples"
        return header

    def _real_path(self, path: str) -> str:
        """`os.path.realpath`, which asks for every folder of every file, with folders asked for once."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        return os.path.join(self._real_folder(folder), name)


def below(path: str | Path, folder: str | Path) -> str:
    """`path` relative to `folder` where it lies below it, absolute otherwise."""
    full, top = os.path.abspath(path), os.path.abspath(folder)
    return full[len(top) + 1 :] if full.startswith(f"{top}{os.sep}") else full


def stem(path: Path) -> str:
    """A file's name without its suffixes."""
    return path.name.partition(".")[0] or path.name
