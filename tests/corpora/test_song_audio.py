import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from lhotse import AudioSource, Recording
from lhotse.cut import Cut
from transformers.audio_utils import load_audio

from music_flamingo.corpora import audio_file
from music_flamingo.corpora.song_audio import load_waveform, song_cut, sounds_of, waveform_blocks
from music_flamingo.errors import UserError

FORMATS = ["wav", "flac", "mp3", "ogg", "opus"]


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


def noise_file(path: Path, sampling_rate: int, channels: int, seconds: float = 2.0) -> Path:
    """Noise that swells, so that encoders vary their bit rate; written as `path`'s suffix says."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (len(time), channels)) * np.abs(np.sin(3 * time))[:, None]
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, noise, sampling_rate, **kind)
    return path


def decoded_whole(path: Path, start: float, seconds: float) -> np.ndarray:
    """A stretch of a file that is decoded from its beginning to its end, averaged and resampled in one go."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)[round(start * rate) : round((start + seconds) * rate)]
    return mono if rate == 16_000 else soxr.resample(mono, rate, 16_000)


@pytest.mark.parametrize(
    ("suffix", "sampling_rate", "channels"),
    [
        *((suffix, rate, channels) for suffix in FORMATS for rate, channels in ((48_000, 2), (16_000, 1))),
        *((suffix, 44_100, 2) for suffix in FORMATS if suffix != "opus"),  # Opus has no such rate
    ],
)
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 2.0), (0.7, 1.1)])
def test_blocks_are_stretches_of_the_whole_song(  # noqa: PLR0913, PLR0917
    tmp_path: Path, suffix: str, sampling_rate: int, channels: int, start: float, seconds: float
) -> None:
    path = noise_file(tmp_path / f"song.{suffix}", sampling_rate, channels)
    cut = song_cut(path).truncate(offset=start, duration=seconds)
    blocks = list(waveform_blocks(cut, 16_000, 5_000))
    assert {len(block) for block in blocks[:-1]} == {5_000}
    np.testing.assert_allclose(np.concatenate(blocks), decoded_whole(path, start, seconds), atol=1e-6)
    if sampling_rate == 16_000:
        np.testing.assert_array_equal(load_waveform(cut, 16_000), cut.load_audio().mean(axis=0))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("sampling_rate", "channels"), [(48_000, 2), (16_000, 1), (24_000, 1)])
def test_a_song_is_heard_as_transformers_loads_it(
    tmp_path: Path, suffix: str, sampling_rate: int, channels: int
) -> None:
    path = noise_file(tmp_path / f"song.{suffix}", sampling_rate, channels)
    theirs = load_audio(str(path), 16_000, backend="soundfile")
    np.testing.assert_allclose(load_waveform(song_cut(path), 16_000), theirs, atol=1e-7)


@pytest.mark.parametrize("offset", [1, 1_151, 1_152, 30_000, 87_000])
@pytest.mark.parametrize(("suffix", "headless"), [*((suffix, False) for suffix in FORMATS), ("mp3", True)])
def test_a_place_in_a_file_is_found_to_the_sample(tmp_path: Path, suffix: str, offset: int, headless: bool) -> None:
    path = noise_file(tmp_path / f"song.{suffix}", 48_000, 2)
    if headless:
        path.write_bytes(path.read_bytes()[2_000:])  # without the table of places that encoders write first
    whole, _ = soundfile.read(path, dtype="float32")
    with soundfile.SoundFile(path) as file:
        file.seek(offset)
        found = file.read(3_000, dtype="float32")
    np.testing.assert_array_equal(found, whole[offset : offset + 3_000])


def test_one_channel_of_a_file_can_be_a_song(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    channels = np.stack([np.full(1_600, 0.25), np.full(1_600, np.nan), np.full(1_600, 0.75)], 1)
    soundfile.write(path, channels, 16_000, subtype="FLOAT")
    recording = Recording.from_file(path)
    first, third = recording.to_cut().to_mono()[0], recording.to_cut().to_mono()[2]
    assert load_waveform(first, 16_000).tolist() == [0.25] * 1_600
    assert load_waveform(third, 16_000).tolist() == [0.75] * 1_600
    with pytest.raises(UserError, match="expected finite samples"):
        load_waveform(recording.to_cut(), 16_000)


def test_what_lhotse_does_to_a_recording_is_heard(tmp_path: Path) -> None:
    cut = song_cut(noise_file(tmp_path / "song.wav", 16_000, 1)).perturb_volume(0.5)
    np.testing.assert_allclose(load_waveform(cut, 16_000), 0.5 * decoded_whole(tmp_path / "song.wav", 0, 2), atol=1e-6)


def test_an_end_that_lhotse_tolerates_to_be_missing_is_mirrored_and_a_longer_one_named(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.arange(16_000) / 32_768, 16_000)
    cut = song_cut(path)
    soundfile.write(path, np.arange(12_000) / 32_768, 16_000)
    np.testing.assert_array_equal(load_waveform(cut, 16_000), cut.load_audio()[0])
    soundfile.write(path, np.arange(7_000) / 32_768, 16_000)
    with pytest.raises(UserError, match=r"song.wav: expected 1.00 s of audio, got 0.44 s: cut short\?"):
        load_waveform(cut, 16_000)


def test_memory_for_a_song_is_that_of_a_block(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.zeros((96_000 * 10, 8), np.int16), 96_000)
    cut = song_cut(path)
    list(waveform_blocks(cut, 16_000, 16_000))  # what is loaded once
    tracemalloc.start()
    assert sum(len(block) for block in waveform_blocks(cut, 16_000, 16_000)) == 160_000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4e6  # decoded at once: 31 MB


def with_total_samples(flac: bytes, samples: int) -> bytes:
    """A FLAC file whose header announces so many samples per channel: 36 bits from byte 21 on."""
    return flac[:21] + bytes([flac[21] & 0xF0 | samples >> 32]) + (samples & 0xFFFFFFFF).to_bytes(4) + flac[26:]


@pytest.mark.parametrize(
    ("samples", "channels", "message"),
    [
        (2**36 - 1, 1, r"its header announces 1,193.0 hours and 274.9 GB: cut it into songs"),
        (4 * 3600 * 16_000 + 1, 1, r"expected at most 4 hours and 8 GB of decoded audio"),
        (3 * 3600 * 96_000, 8, r"its header announces 18.0 hours and 33.2 GB"),
    ],
)
def test_a_header_that_announces_more_than_a_song_is_refused(
    tmp_path: Path, samples: int, channels: int, message: str
) -> None:
    path = tmp_path / "song.flac"
    soundfile.write(path, np.zeros((160, channels)), 16_000)
    cut = song_cut(path)
    path.write_bytes(with_total_samples(path.read_bytes(), samples))
    for bomb in (cut, cut.perturb_volume(0.5)):
        with pytest.raises(UserError, match=message):
            load_waveform(bomb, 16_000)


def test_a_sampling_rate_of_no_song_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.zeros(1600), 16_000)
    data = path.read_bytes()
    path.write_bytes(data[:24] + (2_000_000_011).to_bytes(4, "little") + data[28:])
    with pytest.raises(UserError, match=r"song.wav: expected a sampling rate from 1000 to 768000 Hz, got 2000000011"):
        load_waveform(song_cut(path), 16_000)


def test_a_file_that_is_not_the_one_of_the_manifest_is_named(tmp_path: Path) -> None:
    path = noise_file(tmp_path / "song.wav", 16_000, 1)
    cut = song_cut(path)
    noise_file(path, 22_050, 1)
    with pytest.raises(UserError, match="expected a sampling rate of 16000, as its cut says, got 22050"):
        load_waveform(cut, 16_000)
    noise_file(path, 16_000, 2)
    with pytest.raises(UserError, match="expected channels 1, as its cut says, got 2"):
        load_waveform(cut, 16_000)


def test_no_more_is_decoded_than_a_cut_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = noise_file(tmp_path / "song.wav", 16_000, 1)
    cut = song_cut(path)
    noise_file(path, 16_000, 1, seconds=20.0)
    monkeypatch.setattr(audio_file, "PIECE", 1_000)
    assert sum(len(piece) for piece in audio_file.mono_pieces(cut, "song")) == 32_000


def cut_with(path: Path, **custom: object) -> Cut:
    cut = song_cut(path)
    cut.custom = {"conversations": [], **custom}
    return cut


def test_further_sounds_are_heard_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    first, second, third = (
        noise_file(tmp_path / f"{name}.wav", 16_000, channels) for name, channels in (("a", 1), ("b", 2), ("c", 1))
    )
    cut = cut_with(first, sound_3=Recording.from_file(third), sound_2=Recording.from_file(second))
    sounds = sounds_of(cut)
    assert [sound.id for sound in sounds] == ["a", "a-sound_2", "a-sound_3"]
    for sound, path in zip(sounds, (first, second, third), strict=True):
        np.testing.assert_allclose(load_waveform(sound, 16_000), decoded_whole(path, 0, 2), atol=1e-6)
    assert sounds_of(song_cut(first)) == [song_cut(first)]


def test_further_sounds_that_are_none_are_named(tmp_path: Path) -> None:
    path = noise_file(tmp_path / "a.wav", 16_000, 1)
    with pytest.raises(UserError, match=r"cut a: expected custom.sound_2, sound_3 and so on, got numbers \[3\]"):
        sounds_of(cut_with(path, sound_3=Recording.from_file(path)))
    with pytest.raises(UserError, match=r"cut a: custom.sound_2: expected a lhotse recording, got 'b.wav'"):
        sounds_of(cut_with(path, sound_2="b.wav"))


def test_audio_in_memory_is_read_like_a_file(tmp_path: Path) -> None:
    path = noise_file(tmp_path / "song.flac", 44_100, 2)
    cut = song_cut(path)
    expected = load_waveform(cut, 16_000)
    cut.recording.sources = [AudioSource("memory", [0, 1], path.read_bytes())]
    np.testing.assert_array_equal(load_waveform(cut, 16_000), expected)
    cut.recording.sources = [AudioSource("memory", [0, 1], b"no audio")]
    with pytest.raises(UserError, match="cut song: expected readable audio"):
        load_waveform(cut, 16_000)
