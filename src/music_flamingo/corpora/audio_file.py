"""Decoding the part of one audio file that a cut is, piece by piece, once its header is believed."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import soundfile
from lhotse.cut import Cut, MonoCut, MultiCut
from lhotse.utils import compute_num_samples

from music_flamingo.corpora.resampling import Samples
from music_flamingo.errors import UserError

PIECE = 2**18
"""Samples of all channels decoded at a time: a megabyte."""
MOST_SECONDS = 4 * 3600
MOST_BYTES = 8 * 10**9
RATES = range(1_000, 768_001)


def is_one_file(cut: Cut) -> bool:
    """Whether a cut is a part of one file, in a folder or in memory, with nothing done to it."""
    if not isinstance(cut, MonoCut | MultiCut) or not cut.has_recording or cut.recording.transforms:
        return False
    sources = cut.recording.sources
    return len(sources) == 1 and sources[0].type in ("file", "memory") and not sources[0].has_video


def mono_pieces(cut: Cut, source: str) -> Iterator[Samples]:
    """(S_i,) float32 samples of a cut of one file at the file's own rate, its channels averaged.

    Args:
        cut: for which `is_one_file` holds.
        source: names the file in messages.

    Raises:
        UserError: the file's header tells of more than any song, or of another rate or other channels than the cut.
    """
    stored = cut.recording.sources[0]
    with soundfile.SoundFile(BytesIO(stored.source) if stored.type == "memory" else stored.source) as file:
        check_header(file, source)
        _check_same(source, "a sampling rate of", cut.recording.sampling_rate, file.samplerate)
        _check_same(source, "channels", len(stored.channels), file.channels)
        if cut.start > 0:
            file.seek(min(compute_num_samples(cut.start, file.samplerate), file.frames))
        channels = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
        columns = [stored.channels.index(channel) for channel in channels]
        for piece in _pieces(file, compute_num_samples(cut.duration, file.samplerate)):
            yield _average(piece, columns)


def check_sources(cut: Cut, source: str) -> None:
    """Refuse what lhotse would run a program or go to the network for.

    Raises:
        UserError: the audio is neither in a file nor in memory.
    """
    for stored in cut.recording.sources:
        if stored.type not in ("file", "memory"):
            raise UserError(
                f"{source}: expected audio in a file, got a source of type {stored.type!r}, which would run a program "
                "or go to the network: store the audio in a file"
            )


def check_headers(cut: Cut, source: str) -> None:
    """`check_header` for each file of a cut."""
    for stored in cut.recording.sources if cut.has_recording else ():
        if stored.type == "file":
            with soundfile.SoundFile(stored.source) as file:
                check_header(file, source)


def check_header(file: soundfile.SoundFile, source: str) -> None:
    """Refuse what is no song before any of it is decoded.

    Raises:
        UserError: more than 4 hours, 8 GB once decoded, or a sampling rate that no song has.
    """
    check_rate(file.samplerate, source)
    seconds, size = file.frames / file.samplerate, 4 * file.frames * file.channels
    if seconds > MOST_SECONDS or size > MOST_BYTES:
        raise UserError(
            f"{source}: expected at most {MOST_SECONDS / 3600:g} hours and {MOST_BYTES / 1e9:g} GB of decoded audio, "
            f"its header announces {seconds / 3600:,.1f} hours and {size / 1e9:,.1f} GB: cut it into songs"
        )


def check_rate(sampling_rate: int, source: str) -> None:
    """Refuse a sampling rate that no song has, as resampling from it could take any time and memory.

    Raises:
        UserError: it is such a rate.
    """
    if sampling_rate not in RATES:
        raise UserError(
            f"{source}: expected a sampling rate from {RATES[0]} to {RATES[-1]} Hz, got {sampling_rate}: "
            "convert or remove the file"
        )


def _pieces(file: soundfile.SoundFile, frames: int) -> Iterator[Samples]:
    """(S_i, C) of the next `frames`, fewer where the file ends."""
    at_once = max(1, PIECE // file.channels)
    while frames > 0:
        piece: Samples = file.read(min(at_once, frames), dtype="float32", always_2d=True)
        if not len(piece):
            return
        frames -= len(piece)
        yield piece


def _average(piece: Samples, columns: list[int]) -> Samples:
    """A product with a vector: numpy's mean over two neighbours costs more than decoding them."""
    if len(columns) < piece.shape[1]:
        piece = piece[:, columns]  # what is left out may be NaN
    if piece.shape[1] == 1:
        return piece[:, 0]
    average: Samples = piece @ np.full(piece.shape[1], 1 / piece.shape[1], np.float32)
    return average


def _check_same(source: str, what: str, expected: int, got: int) -> None:
    if got != expected:
        raise UserError(f"{source}: expected {what} {expected}, as its cut says, got {got}: make the manifest again")
