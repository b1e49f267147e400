"""How many times faster than it plays is a song checked, and fingerprinted, on one core?

    python -m benchmarks.data check_speed

Process-CPU seconds against the seconds that the audio plays.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks.claim import Claim
from benchmarks.measurement import process_seconds
from music_flamingo.corpora.inspection.audio_scan import AudioFile, AudioJob, scan_audio
from music_flamingo.corpora.inspection.fingerprint import Excerpt, fingerprint

MUST = 200
REPEATS = 5
FORMATS: dict[str, tuple[str, int, int, float, dict[str, Any]]] = {
    # setting: ending, rate, channels, seconds, how it is encoded
    "180 s, 44.1 kHz stereo, wav": ("wav", 44_100, 2, 180.0, {}),
    "180 s, 44.1 kHz stereo, flac": ("flac", 44_100, 2, 180.0, {}),
    "180 s, 44.1 kHz stereo, mp3": ("mp3", 44_100, 2, 180.0, {}),
    "180 s, 44.1 kHz stereo, ogg": ("ogg", 44_100, 2, 180.0, {}),
    "180 s, 48 kHz stereo, opus": ("opus", 48_000, 2, 180.0, {"format": "OGG", "subtype": "OPUS"}),
    "10 s, 16 kHz mono, flac": ("flac", 16_000, 1, 10.0, {}),
    "60 s, 96 kHz in 8 channels, wav": ("wav", 96_000, 8, 60.0, {}),
}


def music(seconds: float, rate: int, channels: int) -> npt.NDArray[np.float32]:
    """(F, C) notes with overtones, and noise as loud as a room's."""
    rng = np.random.default_rng(0)
    samples = 0.004 * rng.standard_normal((round(seconds * rate), channels), dtype=np.float32)
    for start in np.arange(0, seconds - 1, 0.25):
        t = np.arange(rate) / rate
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 8)) * np.exp(-3 * t)
        first = round(start * rate)
        samples[first : first + rate] += (0.12 * note[:, None] * rng.uniform(0.5, 1, channels)).astype(np.float32)
    return np.clip(samples, -0.99, 0.99)


def write(path: Path, samples: npt.NDArray[np.float32], rate: int, encoding: dict[str, Any]) -> None:
    """Write a second at a time: libsndfile's Vorbis encoder overflows the stack where it is given minutes at once."""
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], **encoding) as file:
        for first in range(0, len(samples), rate):
            file.write(samples[first : first + rate])


def median_seconds(run: Callable[[], object]) -> float:
    """CPU seconds, of several runs."""
    return statistics.median(process_seconds(run) for _ in range(REPEATS))


def claims() -> Iterator[Claim]:
    """Check a file of each format, and fingerprint it."""
    with TemporaryDirectory() as folder:
        for setting, (ending, rate, channels, seconds, encoding) in FORMATS.items():
            path = Path(folder) / f"song.{ending}"
            write(path, music(seconds, rate, channels), rate, encoding)
            job = AudioJob("song", "train", (AudioFile(path.name, str(path), channels),))
            for problem in scan_audio(job).problems:
                if problem.kind != "unusual_format":
                    raise RuntimeError(f"{setting}: {problem}")
            checked = median_seconds(partial(scan_audio, job))
            yield Claim("data check, audio of a song", setting, "real time", seconds, checked, MUST)
            heard = median_seconds(partial(fingerprint, Excerpt(path)))
            yield Claim("data overlap, fingerprint of a song", setting, "real time", seconds, heard, MUST)
