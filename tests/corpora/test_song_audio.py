from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_flamingo.corpora.song_audio import load_waveform, song_cut
from music_flamingo.errors import UserError


def tone(sampling_rate: int, channels: int, seconds: float = 2.0) -> np.ndarray:
    t = np.arange(round(seconds * sampling_rate)) / sampling_rate
    left = 0.4 * np.sin(2 * np.pi * 440 * t)
    return left if channels == 1 else np.stack([left, np.zeros_like(left)], 1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize(("sampling_rate", "channels"), [(44_100, 2), (16_000, 1), (22_050, 1)])
def test_songs_of_any_format_rate_and_channels_become_16_khz_mono(
    tmp_path: Path, suffix: str, sampling_rate: int, channels: int
) -> None:
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, tone(sampling_rate, channels), sampling_rate)
    waveform = load_waveform(song_cut(path), 16_000)
    assert waveform.dtype == np.float32
    assert len(waveform) == pytest.approx(32_000, abs=1_600)
    spectrum = np.abs(np.fft.rfft(waveform[8_000:24_000]))
    assert spectrum.argmax() == pytest.approx(440, abs=1)
    peak = np.abs(waveform[8_000:24_000]).max()
    assert peak == pytest.approx(0.4 / channels, rel=0.1)  # channels are averaged, not cut off


def test_a_missing_song_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.wav: expected an audio file, but it does not exist"):
        song_cut(tmp_path / "nothing.wav")


def test_a_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_text("no audio")
    with pytest.raises(UserError, match=r"song.wav: expected wav, flac, mp3, ogg or opus"):
        song_cut(tmp_path / "song.wav")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros(0), 16_000)
    with pytest.raises(UserError, match=r"song.wav: expected"):
        song_cut(tmp_path / "song.wav")
