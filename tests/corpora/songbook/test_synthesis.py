from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from music_flamingo.corpora.songbook import synthesis
from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import HIHAT, KICK, PALETTE, SNARE
from music_flamingo.corpora.songbook.synthesis import SAMPLING_RATE, default_soundfont, render, write_flac
from music_flamingo.errors import UserError

SOUNDFONT = default_soundfont()


def note(name: str, pitch: int, start: float = 0.0, duration: float = 1.0, velocity: int = 64) -> NoteEvent:
    return NoteEvent(0, PALETTE[name].program, pitch, velocity, start, duration)


def level_db(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def strongest_hz(samples: NDArray[np.float32], low: float, high: float) -> float:
    """Frequency of the highest spectral peak between `low` and `high`."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    hertz = np.fft.rfftfreq(1 << 18, 1 / SAMPLING_RATE)
    inside = (hertz > low) & (hertz < high)
    return float(hertz[inside][spectrum[inside].argmax()])


@pytest.mark.parametrize("name", sorted(PALETTE))
def test_the_a_of_every_instrument_is_440_hertz(name: str) -> None:
    samples = render([note(name, 69, duration=2.0)], 2.0, SOUNDFONT)
    cents = 1200 * np.log2(strongest_hz(samples[1600:17600], 400, 480) / 440)
    assert abs(cents) < 15


@pytest.mark.parametrize("name", sorted(PALETTE))
def test_every_instrument_is_about_as_loud_as_the_piano(name: str) -> None:
    def level(instrument: str) -> float:
        stroke = min(0.5, PALETTE[instrument].stroke_seconds)  # a marimba rolls
        strokes = [note(instrument, 69, start, stroke) for start in np.arange(0.0, 0.5, stroke)]
        return level_db(render(strokes, 0.5, SOUNDFONT))

    assert abs(level(name) - level("piano")) < 5


@pytest.mark.parametrize("drum", [KICK, SNARE, HIHAT])
def test_drums_are_struck_at_their_time(drum: int) -> None:
    samples = render([NoteEvent(9, 0, drum, 64, 0.5, 0.1)], 1.0, SOUNDFONT)
    assert level_db(samples[:8000]) < -100
    assert level_db(samples[8000:9600]) > -55


def test_a_louder_note_is_five_decibels_louder() -> None:
    soft, loud = (render([note("organ", 69, velocity=velocity)], 1.0, SOUNDFONT) for velocity in (64, 115))
    assert level_db(loud) - level_db(soft) == pytest.approx(20 * np.log10(1.8), abs=0.5)


def test_a_hush_silences_what_would_ring_on() -> None:
    events = [note("piano", 60, duration=0.5)]
    ringing = render(events, 1.0, SOUNDFONT)[8320:]
    hushed = render(events, 1.0, SOUNDFONT, hush_at=0.5)[8320:]
    assert level_db(ringing) > -60
    assert level_db(hushed) < -100


def test_a_note_struck_again_at_once_sounds_on() -> None:
    again = [note("organ", 60, duration=0.5), note("organ", 60, start=0.5, duration=0.5)]
    assert level_db(render(again, 1.0, SOUNDFONT)[12800:]) > -40


def test_the_length_is_exact_and_notes_beyond_the_end_are_cut() -> None:
    samples = render([note("flute", 72, duration=9.0), note("flute", 74, start=8.0)], 1.25, SOUNDFONT)
    assert (samples.shape, samples.dtype) == ((20000,), np.float32)


def test_silence_is_silent() -> None:
    assert not render([], 0.5, SOUNDFONT).any()


def test_the_same_notes_give_the_same_samples() -> None:
    events = [note("violin", 69), note("violin", 74, start=0.3), NoteEvent(9, 0, SNARE, 64, 0.2, 0.1)]
    first = render(events, 1.0, SOUNDFONT)
    render([note("organ", 50)], 1.0, SOUNDFONT)
    assert np.array_equal(first, render(events, 1.0, SOUNDFONT))


def test_only_what_would_clip_is_brought_down() -> None:
    crowd = [note("trumpet", pitch, velocity=127) for pitch in range(60, 84)]
    assert np.abs(render(crowd, 1.0, SOUNDFONT)).max() == pytest.approx(0.95, abs=1e-4)
    assert np.abs(render(crowd[:1], 1.0, SOUNDFONT)).max() < 0.8


def test_flac_is_sixteen_bit_mono_at_16_khz(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 1600, dtype=np.float32)
    write_flac(tmp_path / "a.flac", samples)
    info = soundfile.info(tmp_path / "a.flac")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 1600)
    assert np.abs(soundfile.read(tmp_path / "a.flac")[0] - samples).max() < 1e-4


def test_a_file_that_is_no_soundfont_is_named(tmp_path: Path) -> None:
    path = tmp_path / "song.sf2"
    path.write_bytes(b"not a soundfont")
    with pytest.raises(UserError, match=r"soundfont: expected a General MIDI .*song\.sf2"):
        render([note("flute", 72)], 0.1, path)


def test_a_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install pretty_midi"):
        default_soundfont()


def test_a_missing_soundfont_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_SOUNDFONT", "Other.sf2")
    with pytest.raises(UserError, match=r"pip install pretty_midi"):
        default_soundfont()
