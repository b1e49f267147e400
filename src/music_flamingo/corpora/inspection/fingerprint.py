"""What a song sounds like in 86 words of 32 bits a second, and which songs sound the same.

A bit says whether the difference in energy between two neighbouring bands grew since the frame before. That survives
other rates, lossy formats, gain, and a shift in time; it does not survive another tempo or key.

Source: Haitsma and Kalker, A Highly Robust Audio Fingerprinting System, ISMIR 2002, sections 4 and 5.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft
import soundfile
import soxr

from music_flamingo.corpora.inspection.file_range import FileRange

SAMPLING_RATE = 5500
HOP = 64
_WINDOW = 2048
_NUM_BANDS = 33
_LOWEST_HZ, _HIGHEST_HZ = 300.0, 2000.0
_FRAMES_AT_ONCE = 1024
_READ_FRAMES = 1 << 18
_RUN = 256
"""Words compared at once, three seconds: as many as the source's fingerprint block."""
_SHORTEST_RUN = 86
_MAX_ERROR = 0.22
"""Share of bits that may differ. The source takes 0.35; pieces on one synthesiser come close to that by chance."""
_ASIDE = 32
_MAX_ERROR_TO_ASIDE = 0.5
"""A match 32 words aside, a third of a second, is none: held chords agree there nearly as well."""
_MAX_CANDIDATES = 8
_MAX_OCCURRENCES = 64
"""Words that occur more often in what is searched say nothing: pauses, and chords that are held."""

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Match:
    """Where a song sounds like another.

    Attributes:
        name: of the other.
        seconds: how much of it.
        at: where it begins in the song, in seconds.
        at_other: where it begins in the other.
        error: share of bits that differ.
    """

    name: str
    seconds: float
    at: float
    at_other: float
    error: float


@dataclass(frozen=True)
class Excerpt:
    """A file, or a part of it.

    Attributes:
        file: path, or a range of an archive.
        start: in seconds.
        seconds: None for all that follows.
    """

    file: Path | FileRange
    start: float = 0.0
    seconds: float | None = None


def fingerprint(excerpt: Excerpt) -> Words:
    """(F,) words of an excerpt, decoded in blocks; none where it cannot be read."""
    try:
        content = io.BytesIO(excerpt.file.read()) if isinstance(excerpt.file, FileRange) else excerpt.file
        with soundfile.SoundFile(content) as file:
            return words_of(_resampled(file, excerpt))
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        return np.zeros(0, dtype=np.uint32)


def _resampled(file: soundfile.SoundFile, excerpt: Excerpt) -> npt.NDArray[np.float32]:
    """(S,) mono samples at `SAMPLING_RATE`."""
    if excerpt.start:
        file.seek(min(round(excerpt.start * file.samplerate), file.frames))
    frames = -1 if excerpt.seconds is None else round(excerpt.seconds * file.samplerate)
    stream = soxr.ResampleStream(file.samplerate, SAMPLING_RATE, 1, dtype="float32", quality="LQ")
    blocks = file.blocks(_READ_FRAMES, frames=frames, dtype="float32", always_2d=True)
    parts = [stream.resample_chunk(block.mean(axis=1)) for block in blocks]
    return np.concatenate([*parts, stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)])


def named_fingerprint(job: tuple[str, Excerpt]) -> Words:
    """The words of a named excerpt."""
    return fingerprint(job[1])


def words_of(samples: npt.NDArray[np.float32]) -> Words:
    """(F,) words of (S,) samples at `SAMPLING_RATE`; 0 where there is nothing to hear."""
    num_frames = max(0, (len(samples) - _WINDOW) // HOP + 1)
    if num_frames < 2:  # noqa: PLR2004 - each word compares two frames
        return np.zeros(0, dtype=np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::HOP]
    chunks = [_energies(frames[first : first + _FRAMES_AT_ONCE]) for first in range(0, num_frames, _FRAMES_AT_ONCE)]
    slopes = -np.diff(np.concatenate(chunks), axis=1)
    bits = np.diff(slopes, axis=0) > 0
    return np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)


def _energies(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(F, 33) energies in bands whose edges are equal steps in pitch."""
    spectra = scipy.fft.rfft(frames * _HANN, axis=1)[:, _FIRST_BIN:_LAST_BIN]
    powers = spectra.real**2 + spectra.imag**2
    return np.asarray(np.add.reduceat(powers, _BAND_STARTS, axis=1), dtype=np.float32)


_HANN = np.hanning(_WINDOW).astype(np.float32)
_EDGES = np.round(np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _NUM_BANDS + 1) * _WINDOW / SAMPLING_RATE).astype(int)
_FIRST_BIN, _LAST_BIN = _EDGES[0], _EDGES[-1]
_BAND_STARTS = _EDGES[:-1] - _FIRST_BIN


class FingerprintIndex:
    """Songs to look for.

    Args:
        songs: words of each, by name.
    """

    def __init__(self, songs: Mapping[str, Words]) -> None:
        self._songs = dict(songs)
        self._names = list(songs)
        starts = np.cumsum([0, *(len(words) for words in songs.values())])
        self._starts = starts[:-1]
        words = np.concatenate([np.zeros(0, np.uint32), *songs.values()])
        self._order = np.argsort(words, kind="stable")
        self._sorted = words[self._order]

    def __bool__(self) -> bool:
        return len(self._sorted) > 0

    def search(self, words: Words) -> list[Match]:
        """Songs that sound like these words for some seconds, the longest match first."""
        best: dict[str, Match] = {}
        for song, shift in self._candidates(words):
            match = compare(words, self._songs[self._names[song]], shift, self._names[song])
            if match is not None and match.seconds > best.get(match.name, _NO_MATCH).seconds:
                best[match.name] = match
        return sorted(best.values(), key=lambda match: -match.seconds)

    def _candidates(self, words: Words) -> Iterable[tuple[int, int]]:
        """(song, place in it of the first of these words), those that most equal words speak for."""
        left = np.searchsorted(self._sorted, words, side="left")
        counts = np.searchsorted(self._sorted, words, side="right") - left
        telling = np.flatnonzero((counts > 0) & (counts <= _MAX_OCCURRENCES) & (words != 0))
        counts, left = counts[telling], left[telling]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = self._order[np.repeat(left, counts) + offsets]
        songs = np.searchsorted(self._starts, places, side="right") - 1
        shifts = places - self._starts[songs] - np.repeat(telling, counts)
        pairs, votes = np.unique(np.stack([songs, shifts]), axis=1, return_counts=True)
        by_votes = np.argsort(-votes, kind="stable")
        taken: dict[int, int] = {}
        for song, shift in pairs[:, by_votes].T.tolist():
            taken[song] = taken.get(song, 0) + 1
            if taken[song] <= _MAX_CANDIDATES:
                yield song, shift


_NO_MATCH = Match("", 0.0, 0.0, 0.0, 1.0)


def compare(words: Words, others: Words, shift: int, name: str) -> Match | None:
    """Where two songs agree when word 0 of the one lies on word `shift` of the other; None where they do not."""
    first = max(0, -shift)
    length = min(len(words) - first, len(others) - shift - first)
    # A shorter run is only enough for a song that has no more: bits agree by chance over a second.
    run = min(_RUN, len(words), len(others))
    if run < _SHORTEST_RUN or length < run:
        return None
    one, two = words[first : first + length], others[shift + first : shift + first + length]
    heard = (one != 0) | (two != 0)
    errors = np.bitwise_count(one ^ two) / 32
    means = _running_mean(errors, run)
    agree = (means <= _MAX_ERROR) & (_running_mean(heard.astype(float), run) > 0.5)  # noqa: PLR2004
    if not agree.any():
        return None
    covered = np.convolve(agree, np.ones(run)) > 0.5  # noqa: PLR2004
    error = float(errors[covered].mean())
    places = first + np.flatnonzero(covered)
    if error > _MAX_ERROR_TO_ASIDE * min(
        _error_at(words, others, places, shift + aside) for aside in (-_ASIDE, _ASIDE)
    ):
        return None
    begin = int(places[0])
    at, at_other = begin * HOP / SAMPLING_RATE, (begin + shift) * HOP / SAMPLING_RATE
    return Match(name, len(places) * HOP / SAMPLING_RATE, at, at_other, error)


def _error_at(words: Words, others: Words, places: npt.NDArray[np.intp], shift: int) -> float:
    """Share of bits in which words at these places differ from those `shift` further on in the other song."""
    inside = places[(places + shift >= 0) & (places + shift < len(others))]
    return float(np.bitwise_count(words[inside] ^ others[inside + shift]).mean() / 32) if len(inside) else 0.5


def _running_mean(values: npt.NDArray[np.floating], length: int) -> npt.NDArray[np.floating]:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((sums[length:] - sums[:-length]) / length)
