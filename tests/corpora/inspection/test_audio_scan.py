from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from music_flamingo.corpora.inspection.audio_scan import AudioFile, AudioJob, AudioResult, scan_audio
from music_flamingo.corpora.inspection.file_range import FileRange
from tests.corpora.inspection.broken_songs import BROKEN_FLAC, BROKEN_SONGS, RATE, SECONDS, music


def job(path: Path, num_channels: int = 1, **fields: Any) -> AudioJob:
    expected = {"sampling_rate": RATE, "num_samples": round(SECONDS * RATE), **fields}
    return AudioJob("a", "train", (AudioFile(path.name, str(path), num_channels, **expected),))


def kinds(result: AudioResult) -> list[str]:
    return [problem.kind for problem in result.problems]


@pytest.mark.parametrize("name", BROKEN_SONGS | BROKEN_FLAC)
def test_each_thing_that_is_wrong_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    kind, write, manifest = (BROKEN_SONGS | BROKEN_FLAC)[name]
    path = tmp_path / ("a.flac" if name in BROKEN_FLAC else "a.wav")
    write(path)
    assert kinds(scan_audio(job(path, **manifest))) == [kind]


def test_a_flac_that_breaks_off_late_says_where(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(40), RATE)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    (problem,) = scan_audio(job(tmp_path / "a.flac", num_samples=40 * RATE)).problems
    assert problem == ("truncated", "decoding ends after 16.30 s: flac decoder lost sync", "a.flac")


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "opus", "aiff"])
def test_nothing_is_wrong_with_music(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, music(), RATE, **({"format": "OGG", "subtype": "OPUS"} if ending == "opus" else {}))
    frames = soundfile.info(path).frames * RATE // soundfile.info(path).samplerate
    result = scan_audio(job(path, num_samples=frames))
    assert kinds(result) == []
    assert result.decoded_seconds == pytest.approx(SECONDS, abs=0.05)


def test_the_same_samples_have_the_same_digest_in_any_lossless_file(tmp_path: Path) -> None:
    names = ("a.wav", "b.flac", "c.wav")
    for name, seed in zip(names, (1, 1, 2), strict=True):
        soundfile.write(tmp_path / name, (30_000 * music(seed=seed)).astype(np.int16), RATE)
    first, same, other = (scan_audio(job(tmp_path / name)).digest for name in names)
    assert first is not None
    assert first == same != other


def test_what_is_in_memory_or_in_an_archive_is_read_as_a_file_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(512) + content + bytes(512))
    plain = job(tmp_path / "a.flac")
    for same in (content, FileRange(str(tmp_path / "a.tar"), 512, len(content))):
        other = replace(plain, files=(replace(plain.files[0], content=same),))
        assert scan_audio(other) == scan_audio(plain)
        assert other.key != plain.key


@pytest.mark.parametrize(
    ("start", "size", "kind"), [(0, 0, "missing"), (100, 40, "unreadable"), (10**6, 40, "unreadable")]
)
def test_a_range_without_audio_is_found(tmp_path: Path, start: int, size: int, kind: str) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    file = AudioFile("a", FileRange(str(tmp_path / "a.tar"), start, size), 1)
    assert kinds(scan_audio(AudioJob("a", "train", (file,)))) == [kind]


def test_of_an_excerpt_only_the_excerpt_is_judged(tmp_path: Path) -> None:
    samples = music(1.0)
    samples[: RATE // 2] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    whole = {"num_samples": RATE}
    assert kinds(scan_audio(job(tmp_path / "a.wav", **whole, start=0.5, seconds=0.4))) == []
    assert kinds(scan_audio(job(tmp_path / "a.wav", **whole, start=0.3, seconds=0.4))) == ["non_finite"]
    assert kinds(scan_audio(job(tmp_path / "a.wav", **whole, start=0.8, seconds=0.4))) == ["truncated"]
    assert kinds(scan_audio(job(tmp_path / "a.wav", **whole, start=1.5, seconds=0.4))) == ["truncated"]


@pytest.mark.parametrize(("field", "limit"), [("max_decoded_seconds", 0.4), ("max_decoded_bytes", 31_000)])
def test_too_much_audio_is_judged_from_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, limit: float
) -> None:
    soundfile.write(tmp_path / "a.flac", music(), RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    limited = replace(job(tmp_path / "a.flac"), **{field: limit})
    assert kinds(scan_audio(limited)) == ["too_much_audio"]


def test_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415

    os.mkfifo(tmp_path / "a.wav")
    assert kinds(scan_audio(job(tmp_path / "a.wav"))) == ["unreadable"]


def test_a_long_file_of_many_channels_is_decoded_in_small_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", music(20, rate=48_000, channels=8), 48_000)
    read, largest = soundfile.SoundFile.read, []

    def spied(self: soundfile.SoundFile, **settings: Any) -> Any:
        largest.append(settings["out"].nbytes)
        return read(self, **settings)

    monkeypatch.setattr(soundfile.SoundFile, "read", spied)
    manifest: dict[str, Any] = {"num_samples": 960_000, "sampling_rate": 48_000}
    assert kinds(scan_audio(job(tmp_path / "a.wav", 8, **manifest))) == ["unusual_format"]
    assert len(largest) > 20
    assert max(largest) <= 1 << 20


def test_a_key_changes_with_the_file_and_with_the_manifest(tmp_path: Path, write: Callable[[float], None]) -> None:
    write(1.0)
    before = job(tmp_path / "a.wav").key
    assert job(tmp_path / "a.wav").key == before
    assert job(tmp_path / "a.wav", num_samples=7).key != before
    write(0.5)
    assert job(tmp_path / "a.wav").key != before


@pytest.fixture
def write(tmp_path: Path) -> Callable[[float], None]:
    return lambda seconds: soundfile.write(tmp_path / "a.wav", music(seconds), RATE)
