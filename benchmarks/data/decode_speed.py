"""Songs decoded and turned into mel windows, one core: against real time, soundfile with torch.stft, and Hugging Face.

The songs are a minute of gliding tones and noise, as 16 kHz FLAC and as 44.1 kHz stereo MP3. `seconds` are process-CPU
seconds for one of them.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from transformers import WhisperFeatureExtractor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from music_flamingo.corpora.resampling import resampled
from music_flamingo.corpora.song_audio import song_cut
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.models.audio_frontend import WhisperFrontend

SECONDS = 60.0
REAL_TIMES = {"16 kHz mono FLAC": 300.0, "44.1 kHz stereo MP3": 150.0}


def claims() -> Iterator[Claim]:
    """For both formats: how much faster than it is played, and next to the two baselines."""
    frontend = WhisperFrontend(WhisperFeatureExtractor(feature_size=128))
    with TemporaryDirectory() as folder:
        for name, path in _songs(Path(folder)).items():
            yield from _claims_of(name, path, frontend)


def _claims_of(name: str, path: Path, frontend: WhisperFrontend) -> Iterator[Claim]:
    cut, store = song_cut(path), FeatureStore(frontend, None, SECONDS, shorten=False)
    setting = f"{SECONDS:g} s of {name}"

    def ours() -> object:
        return store.windows(cut)

    alone, took = paired_seconds(lambda: _stft_alone(path, frontend), ours, repeats=9)
    yield Claim("decoding and mel", setting, "playing it", SECONDS, took, REAL_TIMES[name])
    yield Claim("decoding and mel", setting, "soundfile, one resampling and torch.stft, no mel", alone, took, 0.9)
    theirs = _hugging_face(path, frontend)
    if theirs is not None:
        loaded, took = paired_seconds(theirs, ours, repeats=9)
        yield Claim("decoding and mel", setting, "Hugging Face's Audio and WhisperFeatureExtractor", loaded, took, 1.0)


def _stft_alone(path: Path, frontend: WhisperFrontend) -> torch.Tensor:
    """The least that has to be done: decode, average, resample, transform."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples @ np.full(samples.shape[1], 1 / samples.shape[1], "f4")
    waveform = torch.from_numpy(np.concatenate(list(resampled([mono], rate, frontend.sampling_rate))))
    extractor = frontend.feature_extractor
    window = torch.hann_window(extractor.n_fft)
    return torch.stft(waveform, extractor.n_fft, extractor.hop_length, window=window, return_complex=True)


def _hugging_face(path: Path, frontend: WhisperFrontend) -> Callable[[], object] | None:
    """The same windows as a user of `datasets` makes them; None where it, or its decoder, is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("datasets", "torchcodec")):
        return None
    from datasets import Audio  # noqa: PLC0415

    decoder, stored = Audio(sampling_rate=frontend.sampling_rate), {"path": str(path), "bytes": None}
    try:
        decoder.decode_example(stored)
    except (ImportError, OSError, RuntimeError) as error:
        print(f"datasets cannot decode here: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    extractor, size = frontend.feature_extractor, frontend.window_samples

    def load() -> object:
        samples = decoder.decode_example(stored)["array"]
        windows = [samples[start : start + size] for start in range(0, len(samples), size)]
        return extractor(windows, sampling_rate=frontend.sampling_rate, return_tensors="pt", padding="max_length")

    return load


def _songs(folder: Path) -> dict[str, Path]:
    songs = {}
    for (name, rate, channels), suffix in zip(
        (("16 kHz mono FLAC", 16_000, 1), ("44.1 kHz stereo MP3", 44_100, 2)), ("flac", "mp3"), strict=True
    ):
        time = np.arange(round(SECONDS * rate)) / rate
        noise = np.random.default_rng(0).normal(0, 0.02, (len(time), channels))
        tones = sum(0.1 * np.sin(2 * np.pi * pitch * (1 + time / 200) * time) for pitch in (110, 277, 440, 1318, 3520))
        songs[name] = folder / f"song.{suffix}"
        soundfile.write(songs[name], tones[:, None] + noise, rate)
    return songs
