"""The instruments and drum patterns a songbook is played with, and how it spells keys."""

import math
from dataclasses import dataclass

TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""Names by pitch class, as answers spell them."""

DRUM_CHANNEL = 9
KICK, SNARE, HIHAT = 36, 38, 42


@dataclass(frozen=True)
class Instrument:
    """What a part is played on.

    Attributes:
        program: of General MIDI.
        low, high: MIDI pitches, a comfortable part of its range.
        volume: MIDI channel volume that makes all about as loud as a piano at full volume; without, they are
            17 dB apart in the default soundfont, and a flute covers a piano.
        stroke_seconds: longer notes are struck anew this often, where they would die away.
    """

    program: int
    low: int
    high: int
    volume: int
    stroke_seconds: float = math.inf


PALETTE = {
    "piano": Instrument(0, 36, 96, 127),
    "organ": Instrument(19, 36, 91, 113),
    "guitar": Instrument(25, 40, 83, 112),  # steel strings: nylon ones have the spectrum of the flute
    "violin": Instrument(40, 55, 96, 80),
    "trumpet": Instrument(56, 54, 84, 83),
    "oboe": Instrument(68, 58, 89, 72),
    "flute": Instrument(73, 60, 96, 70),
    "marimba": Instrument(12, 45, 93, 80, stroke_seconds=0.125),
}
DRUM_VOLUME = 127

COMPOUND_METERS = frozenset({"6/8"})


@dataclass(frozen=True)
class DrumPattern:
    """Onsets in quarters from the start of a bar."""

    kick: tuple[float, ...]
    snare: tuple[float, ...]
    hihat: tuple[float, ...]


DRUM_PATTERNS = {
    "2/4": DrumPattern((0.0,), (1.0,), (0.0, 0.5, 1.0, 1.5)),
    "3/4": DrumPattern((0.0,), (1.0, 2.0), (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)),
    "4/4": DrumPattern((0.0, 2.0), (1.0, 3.0), tuple(i / 2 for i in range(8))),
    "6/8": DrumPattern((0.0,), (1.5,), tuple(i / 2 for i in range(6))),
}


def beat_quarters(meter: str) -> float:
    """Length of the beat that tempo counts: a dotted quarter in compound meters, else a quarter."""
    return 1.5 if meter in COMPOUND_METERS else 1.0


def tempo_class(bpm: int) -> str:
    """Slow below 88, fast above 120 beats per minute, moderate between."""
    if bpm < 88:  # noqa: PLR2004
        return "slow"
    return "moderate" if bpm <= 120 else "fast"  # noqa: PLR2004
