"""Notes to sound: 16 kHz mono through a General MIDI soundfont, the same samples every time.

Each cut gets a synthesizer of its own, as one that has played starts from another state. Plain note-on,
note-off and generate calls are twenty times as fast as tinysoundfont's own Sequencer.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import DRUM_VOLUME, PALETTE
from music_flamingo.errors import UserError

SAMPLING_RATE = 16000

# Peaks above this are brought down to it; quieter cuts keep their level, so that they stay quieter.
_PEAK = 0.95
_GAIN_DB = 10.0
_VOLUMES = {instrument.program: instrument.volume for instrument in PALETTE.values()}
_CHANNEL_VOLUME = 7
_DRUM_BANK = 128
_SOUNDFONT = "TimGM6mb.sf2"
_FRAME_BYTES = 8
# In the order in which they happen at one sample.
_OFF, _HUSH, _ON = range(3)


def default_soundfont() -> Path:
    """The General MIDI soundfont that pretty_midi ships.

    Raises:
        UserError: it is not installed.
    """
    package = importlib.util.find_spec("pretty_midi")
    path = Path(package.origin).with_name(_SOUNDFONT) if package and package.origin else None
    if path is None or not path.is_file():
        raise UserError(
            f"soundfont: expected {_SOUNDFONT} inside the pretty_midi package, found none; "
            "`pip install pretty_midi`, or name a General MIDI .sf2 file in `soundfont`"
        )
    return path


def render(
    events: Sequence[NoteEvent], seconds: float, soundfont: Path, hush_at: float | None = None
) -> NDArray[np.float32]:
    """Samples (seconds * SAMPLING_RATE,) of the events; what sounds on at the end is cut.

    Args:
        events: no key of a channel struck while it is down.
        seconds: length of the cut.
        soundfont: General MIDI .sf2 file.
        hush_at: seconds at which whatever still rings dies within 10 ms; None lets everything ring.

    Raises:
        UserError: the soundfont cannot be read.
    """
    synth = _new_synth(soundfont, {(event.channel, event.program): event.is_drum for event in events})
    num_samples = round(seconds * SAMPLING_RATE)
    view = memoryview(bytearray(num_samples * _FRAME_BYTES))
    turns = _turns(events, num_samples)
    if hush_at is not None:
        turns.append((round(hush_at * SAMPLING_RATE), _HUSH, 0, 0, 0))
    position = 0
    for sample, kind, channel, pitch, velocity in [*sorted(turns), (num_samples, _HUSH, 0, 0, 0)]:
        if sample > position:
            synth.generate_simple(sample - position, view[position * _FRAME_BYTES : sample * _FRAME_BYTES])
            position = sample
        if kind == _ON:
            synth.noteon(channel, pitch, velocity)
        elif kind == _OFF:
            synth.noteoff(channel, pitch)
        else:
            synth.sounds_off()
    stereo = np.frombuffer(view, dtype=np.float32).reshape(num_samples, 2)
    return _without_clipping((stereo[:, 0] + stereo[:, 1]) * np.float32(0.5))


def write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    """16-bit FLAC of samples in [-1, 1]."""
    soundfile.write(path, np.rint(samples * 32767).astype(np.int16), SAMPLING_RATE, subtype="PCM_16")


def _turns(events: Sequence[NoteEvent], num_samples: int) -> list[tuple[int, int, int, int, int]]:
    """(sample, kind, channel, pitch, velocity) of what happens before the last sample."""
    turns = []
    for event in events:
        start, end = round(event.start * SAMPLING_RATE), round(event.end * SAMPLING_RATE)
        if start < min(end, num_samples):
            turns.append((start, _ON, event.channel, event.pitch, event.velocity))
            turns.append((min(end, num_samples), _OFF, event.channel, event.pitch, 0))
    return turns


@functools.lru_cache(maxsize=1)
def _soundfont_bytes(path: Path) -> bytes:
    return path.read_bytes()


def _new_synth(soundfont: Path, channels: dict[tuple[int, int], bool]) -> Any:
    """A synthesizer with a program on each (channel, program), drums where the value is true."""
    synth = importlib.import_module("tinysoundfont").Synth(gain=_GAIN_DB, samplerate=SAMPLING_RATE)
    try:
        number = synth.sfload(_soundfont_bytes(soundfont))
    except (OSError, RuntimeError) as error:
        raise UserError(f"soundfont: expected a General MIDI .sf2 file, {soundfont} is none ({error})") from error
    for (channel, program), is_drum in channels.items():
        synth.program_select(channel, number, _DRUM_BANK if is_drum else 0, program, is_drum)
        synth.control_change(channel, _CHANNEL_VOLUME, DRUM_VOLUME if is_drum else _VOLUMES.get(program, 100))
    return synth


def _without_clipping(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= _PEAK else samples * np.float32(_PEAK / peak)
