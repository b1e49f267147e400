"""What is wrong with the audio of one song: its header against its manifest, and its samples, block by block.

Runs in processes of its own, so it imports little. A file is decoded in blocks: memory stays bounded whatever a
header promises, and what a header promises is judged before anything is decoded.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import soundfile

from music_flamingo.corpora.inspection.file_range import FileRange
from music_flamingo.corpora.inspection.levels import Levels
from music_flamingo.corpora.inspection.size_fields import is_header_only, wrong_size

TOLERATED_SECONDS = 0.025
"""By how much lengths may differ, as lhotse tolerates it."""
_USUAL_RATES = range(16_000, 48_001)
_MOST_USUAL_CHANNELS = 2
_BYTES_PER_SAMPLE = 4
Answer = TypeVar("Answer")


class Problem(NamedTuple):
    """What is wrong, and with which file."""

    kind: str
    detail: str
    path: str | None


@dataclass(frozen=True)
class AudioFile:
    """One source of a recording, and what its manifest says of it.

    Attributes:
        shown: path as the manifest gives it.
        content: path to open, a range of an archive, or the encoded file itself.
        num_channels: that the manifest expects.
        start: of the excerpt in seconds; `seconds` its length, None for all of the recording.
        sampling_rate: None where it and `num_samples` are not the file's own, as the manifest transforms the audio.
        num_samples: of the recording.
    """

    shown: str
    content: str | bytes | FileRange
    num_channels: int
    start: float = 0.0
    seconds: float | None = None
    sampling_rate: int | None = None
    num_samples: int | None = None

    def open(self) -> BinaryIO:
        """The encoded file.

        Raises:
            OSError: it cannot be opened.
        """
        if isinstance(self.content, str):
            return Path(self.content).open("rb")
        return io.BytesIO(self.content if isinstance(self.content, bytes) else self.content.read())

    def fingerprint(self) -> str:
        """Changes when the file does: size and time of change, or a hash of what is in memory."""
        if isinstance(self.content, bytes):
            return hashlib.blake2b(self.content, digest_size=16).hexdigest()
        inside = f" {self.content.start} {self.content.size}" if isinstance(self.content, FileRange) else ""
        status = _status(self.content.path if isinstance(self.content, FileRange) else self.content)
        return "missing" if status is None else f"{status.st_size} {status.st_mtime_ns}{inside}"


@dataclass(frozen=True)
class AudioJob:
    """All that is heard with one cut.

    Attributes:
        cut: id.
        split: of the cut.
        files: of its recordings.
        max_decoded_seconds: of a file; more is not decoded.
        max_decoded_bytes: the same, as float32.
    """

    cut: str
    split: str
    files: tuple[AudioFile, ...]
    max_decoded_seconds: float = 14_400.0
    max_decoded_bytes: int = 16 << 30

    @property
    def key(self) -> str:
        """Changes when the files or the manifest's numbers do."""
        limits = (self.max_decoded_seconds, self.max_decoded_bytes)
        files = [(replace(file, content=""), file.fingerprint()) for file in self.files]
        return hashlib.blake2b(repr((self.cut, self.split, limits, files)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class AudioResult:
    """What a scan found out.

    Attributes:
        problems: what is wrong.
        digest: of the decoded content; None where it could not be decoded.
        decoded_seconds: of audio.
    """

    problems: tuple[Problem, ...]
    digest: str | None = None
    decoded_seconds: float = 0.0

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "AudioResult":
        problems = tuple(Problem(*each) for each in fields["problems"])
        return cls(problems, fields["digest"], fields["decoded_seconds"])


def scan_audio(job: AudioJob) -> AudioResult:
    """Look at every file of a cut."""
    results = [_scan_file(job, file) for file in job.files]
    digests = [result.digest for result in results]
    whole = all(digest is not None for digest in digests)
    return AudioResult(
        tuple(problem for result in results for problem in result.problems),
        " ".join(map(str, digests)) if digests and whole else None,
        sum(result.decoded_seconds for result in results),
    )


def _scan_file(job: AudioJob, file: AudioFile) -> AudioResult:
    absent = _absent(file)
    if absent is not None:
        return AudioResult((Problem(*absent, file.shown),))
    try:
        if isinstance(file.content, FileRange):
            file = replace(file, content=file.content.read())
        with soundfile.SoundFile(file.content if isinstance(file.content, str) else file.open()) as sound:
            found, levels = _scan_sound(job, file, sound)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, MemoryError) as error:
        return AudioResult((Problem("unreadable", _words(error), file.shown),))
    problems = tuple(Problem(kind, detail, file.shown) for kind, detail in found)
    if levels is None:
        return AudioResult(problems)
    return AudioResult(problems, levels.digest, levels.num_frames / levels.sampling_rate)


def _absent(file: AudioFile) -> tuple[str, str] | None:
    """(kind, detail) where there is no file with content to open."""
    if isinstance(file.content, bytes):
        return None if file.content else ("empty", "0 bytes")
    if isinstance(file.content, FileRange) and not file.content.size:
        return "missing", "the archive holds a placeholder and no audio"
    status = _status(file.content.path if isinstance(file.content, FileRange) else file.content)
    if status is None:
        return "missing", "there is no such file"
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, a device may have no end
        return "unreadable", "no regular file, but a folder, a pipe or a device"
    return None if status.st_size else ("empty", "0 bytes")


def _scan_sound(
    job: AudioJob, file: AudioFile, sound: soundfile.SoundFile
) -> tuple[list[tuple[str, str]], Levels | None]:
    first = round(file.start * sound.samplerate)
    wanted = sound.frames - first if file.seconds is None else round(file.seconds * sound.samplerate)
    too_much = _too_much(min(wanted, sound.frames), sound, job)
    if too_much is not None:
        return [too_much], None
    if first >= sound.frames > 0:
        return [("truncated", f"the song begins at {file.start:.2f} s, where the file has ended")], None
    levels = Levels(sound.samplerate, sound.channels, is_float=sound.subtype in {"FLOAT", "DOUBLE"})
    if first:  # some broken files refuse to go to their own beginning
        sound.seek(first)
    end = _decode(sound, levels, wanted)
    if levels.num_frames == 0:
        said = f"the header says {sound.frames / sound.samplerate:.2f} s, and 0 samples follow"
        is_broken = end is not None and not _ask_of_bytes(file, is_header_only)
        return [("unreadable", f"{said}: {end}") if is_broken else ("empty", said)], None
    found = [*_disagreements(job, file, sound, levels.num_frames, wanted), *levels.problems()]
    if end is not None:
        broken = f"decoding ends after {levels.num_frames / sound.samplerate:.2f} s: {end}"
        found = [("truncated", broken), *(each for each in found if each[0] != "truncated")]
    return found, levels


def _decode(sound: soundfile.SoundFile, levels: Levels, num_frames: int) -> str | None:
    """Give the next frames to `levels`, no more than wanted, whatever there is; what broke it off, if anything."""
    buffer = np.empty((levels.block_frames, sound.channels), dtype=np.float32)
    while num_frames > 0:
        try:
            block = sound.read(out=buffer[:num_frames])
        except soundfile.LibsndfileError as error:
            return _words(error)
        if not len(block):
            return None
        levels.add(block)
        num_frames -= len(block)
    return None


def _too_much(num_frames: int, sound: soundfile.SoundFile, job: AudioJob) -> tuple[str, str] | None:
    seconds = num_frames / sound.samplerate
    num_bytes = num_frames * sound.channels * _BYTES_PER_SAMPLE
    if seconds <= job.max_decoded_seconds and num_bytes <= job.max_decoded_bytes:
        return None
    return "too_much_audio", f"the header says {seconds / 3600:.1f} h in {sound.channels} channels: not decoded"


def _disagreements(
    job: AudioJob, file: AudioFile, sound: soundfile.SoundFile, decoded: int, wanted: int
) -> list[tuple[str, str]]:
    """What header, manifest and samples say differently."""
    rate = sound.samplerate
    tolerated = TOLERATED_SECONDS * rate
    # Opus decodes to 48 kHz, whatever rate was recorded.
    same_rate = file.sampling_rate in {None, rate} or sound.subtype == "OPUS"
    found = []
    if not same_rate:
        found.append(("wrong_manifest", f"the manifest says {file.sampling_rate} Hz, the file {rate} Hz"))
    if file.num_channels != sound.channels:
        found.append(("wrong_manifest", f"the manifest says {file.num_channels} channels, the file {sound.channels}"))
    promised = sound.frames
    if same_rate and file.sampling_rate is not None and file.num_samples is not None:
        promised = round(file.num_samples * rate / file.sampling_rate)
    expected = max(promised, sound.frames) if file.seconds is None else wanted
    is_short = decoded < expected - tolerated
    if is_short:
        found.append(("truncated", f"{decoded / rate:.2f} s of {expected / rate:.2f} s are there"))
    elif sound.frames > promised + tolerated:
        detail = f"the manifest says {promised / rate:.2f} s, the file holds {sound.frames / rate:.2f} s"
        found.append(("wrong_manifest", detail))
    size = None if is_short else _ask_of_bytes(file, wrong_size)
    if size is not None:
        found.append(("wrong_header", size))
    if rate not in _USUAL_RATES or sound.channels > _MOST_USUAL_CHANNELS:
        found.append(("unusual_format", f"{rate} Hz, {sound.channels} channels"))
    return found


def _ask_of_bytes(file: AudioFile, question: Callable[[BinaryIO, int], Answer]) -> Answer:
    """Put a question to the file's bytes and their number."""
    with file.open() as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return question(stream, size)


def _words(error: Exception) -> str:
    """What went wrong, without the path, which libsndfile puts before it."""
    words: str = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return words.strip().removeprefix("Error : ").rstrip(".")


def _status(path: str) -> Any:
    """`os.stat_result`; None where there is nothing, or what cannot be a name (a NUL)."""
    try:
        return Path(path).stat()
    except (OSError, ValueError):
        return None
