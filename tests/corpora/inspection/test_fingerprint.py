import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from music_flamingo.corpora.inspection.fingerprint import (
    HOP,
    SAMPLING_RATE,
    Excerpt,
    FingerprintIndex,
    Words,
    compare,
    fingerprint,
    words_of,
)

RATE = 16_000
Samples = npt.NDArray[np.float64]


def tune(seed: int, seconds: float = 9.0) -> Samples:
    """(S,) a melody of plucked notes with four overtones and a little noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    samples = 0.003 * rng.standard_normal(round(seconds * RATE))
    for start in np.arange(0, seconds - 0.6, 0.22):
        t = np.arange(round(0.6 * RATE)) / RATE
        pitch = 220 * 2 ** (rng.integers(0, 25) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * t + rng.random()) / k for k in range(1, 5))
        first = round(start * RATE)
        samples[first : first + len(t)] += 0.15 * np.exp(-4 * t) * note
    return samples


def encoded(samples: Samples, rate: int, **settings: Any) -> tuple[Samples, int]:
    """The samples after a lossy format."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **settings)
    stream.seek(0)
    return soundfile.read(stream)


def resampled(samples: Samples) -> tuple[Samples, int]:
    return soxr.resample(samples, RATE, 44_100), 44_100


def cut_out(samples: Samples) -> Samples:
    return samples[round(2.345 * RATE) : round(7.345 * RATE)]


CHANGES: dict[str, Callable[[Samples], tuple[Samples, int]]] = {
    "another rate": resampled,
    "softer": lambda x: (0.1 * x, RATE),
    "stereo": lambda x: (np.stack([x, 0.5 * x], axis=1), RATE),
    "ogg": lambda x: encoded(x, RATE, format="OGG", subtype="VORBIS", compression_level=0.8),
    "mp3": lambda x: encoded(*resampled(x), format="MP3", compression_level=0.9),
    "opus": lambda x: encoded(x, RATE, format="OGG", subtype="OPUS"),
    "an excerpt": lambda x: (cut_out(x), RATE),
    "a soft mp3 of an excerpt": lambda x: encoded(*resampled(0.2 * cut_out(x)), format="MP3", compression_level=0.9),
}


@pytest.fixture(scope="module")
def index() -> FingerprintIndex:
    return FingerprintIndex({f"tune {seed}": fingerprint_of(tune(seed), RATE) for seed in range(8)})


def fingerprint_of(samples: Samples, rate: int) -> Words:
    return words_of(soxr.resample(samples.astype(np.float32), rate, SAMPLING_RATE))


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_music_is_found_whatever_was_done_to_it(tmp_path: Path, index: FingerprintIndex, change: str) -> None:
    samples, rate = CHANGES[change](tune(3))
    soundfile.write(tmp_path / "a.wav", samples, rate)
    (match,) = index.search(fingerprint(Excerpt(tmp_path / "a.wav")))
    assert match.name == "tune 3"
    assert match.seconds >= 3.5
    is_excerpt = "excerpt" in change
    assert match.at_other - match.at == pytest.approx(2.345 if is_excerpt else 0.0, abs=0.06)


def test_other_music_is_not_found(index: FingerprintIndex) -> None:
    for seed in range(100, 112):
        assert index.search(fingerprint_of(tune(seed), RATE)) == []


@pytest.mark.parametrize("sound", ["silence", "noise", "a tone", "nothing"])
def test_what_is_no_music_is_not_found(index: FingerprintIndex, sound: str) -> None:
    t = np.arange(8 * RATE) / RATE
    samples = {
        "silence": np.zeros(8 * RATE),
        "noise": np.random.default_rng(0).standard_normal(8 * RATE) * 0.1,
        "a tone": 0.2 * np.sin(2 * np.pi * 440 * t),
        "nothing": np.zeros(0),
    }[sound]
    assert index.search(fingerprint_of(samples, RATE)) == []
    assert FingerprintIndex({"other": fingerprint_of(samples, RATE)}).search(fingerprint_of(tune(1), RATE)) == []


def test_silence_is_no_match_for_silence() -> None:
    assert compare(np.zeros(500, np.uint32), np.zeros(500, np.uint32), 0, "other") is None


def test_a_bit_says_whether_a_band_grew_more_than_the_next() -> None:
    """A tone that swells in the lowest band sets the highest bit of each word, by the definition in section 4.2."""
    t = np.arange(3 * SAMPLING_RATE) / SAMPLING_RATE
    swelling = (t * np.sin(2 * np.pi * 308 * t)).astype(np.float32)
    words = words_of(swelling)
    assert len(words) == (len(swelling) - 2048) // HOP
    assert (words >> 31 == 1).all()
    assert (words_of(swelling[::-1].copy()) >> 31 == 0).all()


def test_agreement_is_measured_where_it_is() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(1, 2**32, 1000, dtype=np.uint32)
    two = rng.integers(1, 2**32, 1200, dtype=np.uint32)
    two[500:900] = one[300:700]
    match = compare(one, two, 200, "two")
    assert match is not None
    step = HOP / SAMPLING_RATE
    # A run of 256 words may hold half of noise, in which half of the bits differ, before a quarter of them do.
    assert match.at == pytest.approx(300 * step, abs=129 * step)
    assert match.seconds == pytest.approx(400 * step, abs=258 * step)
    assert match.at_other == pytest.approx(match.at + 200 * step)
    assert compare(one, two, 0, "two") is None


def test_a_file_is_read_in_parts_as_in_one(tmp_path: Path) -> None:
    samples = tune(1, 40.0)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    whole = fingerprint_of(samples, RATE)
    in_parts = fingerprint(Excerpt(tmp_path / "a.wav"))
    both = min(len(whole), len(in_parts))
    assert abs(len(whole) - len(in_parts)) <= 1
    assert np.bitwise_count(whole[:both] ^ in_parts[:both]).mean() < 1.0
    part = fingerprint(Excerpt(tmp_path / "a.wav", start=4.0, seconds=10.0))
    assert len(part) == (10 * SAMPLING_RATE - 2048) // HOP


def test_what_cannot_be_read_has_no_words(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    assert len(fingerprint(Excerpt(tmp_path / "a.wav"))) == 0
    assert len(fingerprint(Excerpt(tmp_path / "none.wav"))) == 0
