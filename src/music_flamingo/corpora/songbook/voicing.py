"""Which lines of a piece are heard in an excerpt: one, two or all, with drones where the score has too few.

Everything here counts in quarters from the start of the excerpt; notes are (onset, duration, pitch).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from music_flamingo.corpora.songbook.palette import Instrument, beat_quarters
from music_flamingo.corpora.songbook.scores import Note, Piece

Line = list[Note]

_NUM_LINES = {"solo": 1, "duet": 2, "full": 4}
# A part that is silent for more than half of the excerpt would make a trio of a quartet.
_MIN_SOUNDING = 0.5
_NEARLY_ALWAYS = 0.8
_DRONE_PITCH = 48
_FIFTH = 7
_MAJOR_TENTH, _MINOR_TENTH = 16, 15


@dataclass(frozen=True)
class Voicing:
    """Which parts are played, and how many drones (on the tonic, the fifth, the tenth) beside them."""

    parts: tuple[int, ...]
    num_drones: int


def unroll(piece: Piece, part: int, start: float, length: float) -> Line:
    """A part from `start` on, for `length` quarters, beginning anew whenever the piece ends.

    A note that sounds already at the start is struck there; one that sounds at the end is cut there.
    """
    period = piece.bars * piece.bar_quarters
    first, last = math.floor(start / period), math.floor((start + length) / period) + 1
    line: Line = []
    for lap in range(first, last + 1):
        for onset, duration, pitch in piece.parts[part]:
            begin = onset + lap * period - start
            if begin + duration > 0 and begin < length:
                line.append((begin, duration, pitch))
    return _one_at_a_time(line, length)


def choose_voicing(piece: Piece, start: float, length: float, texture: str) -> Voicing:
    """Parts for an excerpt: one for a solo, the outer two for a duet, all for full.

    Parts that mostly rest are passed over; drones stand in for what is missing.
    """
    shares = [_sounding_share(unroll(piece, part, start, length), length) for part in range(len(piece.parts))]
    if texture == "solo":
        # Of parts that sound nearly throughout the highest has the tune.
        return Voicing((max(range(len(shares)), key=lambda part: (min(shares[part], _NEARLY_ALWAYS), -part)),), 0)
    sounding = [part for part, share in enumerate(shares) if share >= _MIN_SOUNDING]
    parts = sounding or [max(range(len(shares)), key=lambda part: shares[part])]
    if texture == "duet":
        parts = parts if len(parts) == 1 else [parts[0], parts[-1]]
    wanted = _NUM_LINES[texture]
    return Voicing(tuple(parts), max(0, wanted - len(parts)))


def voice(piece: Piece, voicing: Voicing, start: float, length: float) -> list[Line]:
    """The lines of an excerpt, drones last."""
    lines = [unroll(piece, part, start, length) for part in voicing.parts]
    intervals = (0, _FIFTH, _MAJOR_TENTH if piece.mode == "major" else _MINOR_TENTH)
    return lines + [_drone(piece, interval, start, length) for interval in intervals[: voicing.num_drones]]


def is_well_covered(piece: Piece, start: float, length: float, texture: str) -> bool:
    """Whether as many parts sound in the excerpt as the texture needs, or all where there are fewer."""
    wanted = min(len(piece.parts), _NUM_LINES[texture])
    shares = (_sounding_share(unroll(piece, part, start, length), length) for part in range(len(piece.parts)))
    return sum(share >= _MIN_SOUNDING for share in shares) >= wanted


def group_lines(lines: list[Line], is_upper_first: bool) -> tuple[list[Line], list[Line]]:
    """Lines of the first and of the second instrument; a solo has no second."""
    if len(lines) == 1:
        return lines, []
    upper, lower = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    return (upper, lower) if is_upper_first else (lower, upper)


def enter_at(lines: list[Line], at: float) -> list[Line]:
    """Lines silent before `at`, where one begins at least: with what sounds there, or else its next note."""
    entered = [
        [
            (max(onset, at), onset + duration - max(onset, at), pitch)
            for onset, duration, pitch in line
            if onset + duration > at
        ]
        for line in lines
    ]
    begun = [(line[0][0], number) for number, line in enumerate(entered) if line]
    if not begun or min(begun)[0] == at:
        return entered
    onset, number = min(begun)
    _, duration, pitch = entered[number][0]
    entered[number][0] = (at, onset + duration - at, pitch)
    return entered


def fit_range(line: Line, semitones: int, instrument: Instrument) -> Line:
    """Transpose, then move by octaves into the instrument's range: the line, and each note still outside."""
    pitches = [pitch + semitones for _, _, pitch in line]
    if not pitches:
        return []
    octave = min(range(-60, 61, 12), key=lambda shift: (_num_outside(pitches, shift, instrument), abs(shift)))
    return [
        (onset, duration, _fold(pitch + octave, instrument))
        for (onset, duration, _), pitch in zip(line, pitches, strict=True)
    ]


def fill_rests(lines: Sequence[Line], length: float, longest: float) -> list[Line]:
    """Lengthen notes so that all lines together are never silent for more than `longest` quarters."""
    ends = _sounding_ends(lines, length, longest)
    return [
        [(onset, max(duration, ends.get(onset + duration, 0.0) - onset), pitch) for onset, duration, pitch in line]
        for line in lines
    ]


def _sounding_ends(lines: Sequence[Line], length: float, longest: float) -> dict[float, float]:
    """End of each rest that is too long -> where it is to end."""
    notes = sorted((onset, onset + duration) for line in lines for onset, duration, _ in line)
    ends: dict[float, float] = {}
    sounding_until = 0.0
    for onset, end in [*notes, (length, length)]:
        if onset - sounding_until > longest and sounding_until > 0:
            ends[sounding_until] = onset
        sounding_until = max(sounding_until, end)
    return ends


def _one_at_a_time(line: Line, length: float) -> Line:
    """Cut to the excerpt; a note ends where the next begins."""
    line = sorted(line)
    notes: Line = []
    for index, (onset, duration, pitch) in enumerate(line):
        following = line[index + 1][0] if index + 1 < len(line) else length
        begin, end = max(onset, 0.0), min(onset + duration, following, length)
        if end > begin:
            notes.append((begin, end - begin, pitch))
    return notes


def _sounding_share(line: Line, length: float) -> float:
    return sum(duration for _, duration, _ in line) / length


def _drone(piece: Piece, interval: int, start: float, length: float) -> Line:
    """A held note below the tune, struck anew at every beat so that it does not die away."""
    step = beat_quarters(piece.meter)
    pitch = _DRONE_PITCH + piece.tonic % 12 + interval
    first = math.floor(start / step)
    grid = [index * step - start for index in range(first, first + math.ceil(length / step) + 2)]
    return _one_at_a_time([(onset, step, pitch) for onset in grid if onset < length], length)


def _num_outside(pitches: list[int], shift: int, instrument: Instrument) -> int:
    return sum(not instrument.low <= pitch + shift <= instrument.high for pitch in pitches)


def _fold(pitch: int, instrument: Instrument) -> int:
    while pitch < instrument.low:
        pitch += 12
    while pitch > instrument.high:
        pitch -= 12
    return pitch
