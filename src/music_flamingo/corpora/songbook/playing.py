"""Lines of notes as an instrument plays them, and the drums under them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import (
    DRUM_CHANNEL,
    DRUM_PATTERNS,
    HIHAT,
    KICK,
    PALETTE,
    SNARE,
    beat_quarters,
)
from music_flamingo.corpora.songbook.scores import Piece
from music_flamingo.corpora.songbook.voicing import Line, fit_range

# What gets louder, by dynamics.LOUDNESS_RATIO, then just reaches MIDI's 127, at which accents are cut.
_VELOCITY = 32
_DOWNBEAT, _OFF_BEAT = 4, -3
_DRUM_VELOCITIES = {KICK: 32, SNARE: 28, HIHAT: 32}
_DRUM_SECONDS = 0.1


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a piece at a tempo; `start` and `length` in quarters."""

    piece: Piece
    start: float
    length: float
    bpm: int

    @property
    def seconds_per_quarter(self) -> float:
        """Tempo counts the beat, which is a dotted quarter in compound meters."""
        return 60.0 / (self.bpm * beat_quarters(self.piece.meter))


def play_lines(
    excerpt: Excerpt, lines: Sequence[Line], instrument: str, channel: int, semitones: int
) -> list[NoteEvent]:
    """Events of the lines that one instrument plays, the first beat of each bar a little louder."""
    played = PALETTE[instrument]
    scale = excerpt.seconds_per_quarter
    return [
        NoteEvent(
            channel=channel,
            program=played.program,
            pitch=pitch,
            velocity=_VELOCITY + _accent(excerpt.piece, excerpt.start + onset),
            start=start,
            duration=duration,
        )
        for line in lines
        for onset, length, pitch in fit_range(line, semitones, played)
        for start, duration in _strokes(onset * scale, length * scale, played.stroke_seconds)
    ]


def _strokes(start: float, duration: float, longest: float) -> list[tuple[float, float]]:
    """A note in equal parts none of which exceeds `longest`."""
    count = max(1, math.ceil(duration / longest))
    return [(start + index * duration / count, duration / count) for index in range(count)]


def play_drums(excerpt: Excerpt) -> list[NoteEvent]:
    """Kick, snare and hi-hat in the piece's meter, in time with its bars, throughout the excerpt."""
    pattern = DRUM_PATTERNS[excerpt.piece.meter]
    bar = excerpt.piece.bar_quarters
    first, last = math.floor(excerpt.start / bar), math.ceil((excerpt.start + excerpt.length) / bar)
    onsets = [
        (number * bar + position - excerpt.start, drum)
        for number in range(first, last)
        for drum, positions in ((KICK, pattern.kick), (SNARE, pattern.snare), (HIHAT, pattern.hihat))
        for position in positions
    ]
    return [
        NoteEvent(DRUM_CHANNEL, 0, drum, _DRUM_VELOCITIES[drum], onset * excerpt.seconds_per_quarter, _DRUM_SECONDS)
        for onset, drum in onsets
        if 0 <= onset < excerpt.length
    ]


def without_collisions(events: Iterable[NoteEvent]) -> list[NoteEvent]:
    """In time order, no key struck while it is down, as synthesizers differ in which note then ends.

    The first ends where the second begins, which sounds as long as either would have.
    """
    result: list[NoteEvent] = []
    last: dict[tuple[int, int], int] = {}
    for event in sorted(events, key=lambda event: (event.start, event.channel, event.pitch, -event.duration)):
        key = (event.channel, event.pitch)
        before = result[last[key]] if key in last else None
        if before is not None and before.end > event.start:
            if before.start == event.start:
                continue
            result[last[key]] = replace(before, duration=event.start - before.start)
            event = replace(event, duration=max(event.end, before.end) - event.start)  # noqa: PLW2901
        last[key] = len(result)
        result.append(event)
    return result


def _accent(piece: Piece, position: float) -> int:
    """What a note's place in the bar adds to its velocity."""
    in_bar = position % piece.bar_quarters
    if math.isclose(in_bar, 0.0, abs_tol=1e-6):
        return _DOWNBEAT
    return 0 if math.isclose(in_bar % beat_quarters(piece.meter), 0.0, abs_tol=1e-6) else _OFF_BEAT
