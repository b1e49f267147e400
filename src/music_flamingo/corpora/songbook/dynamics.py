"""What happens on the way: everything gets louder or softer, or everybody pauses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from music_flamingo.corpora.songbook.palette import DRUM_CHANNEL

# 12 dB. At 8 dB the tiny models took solos that got louder for steady ones.
LOUDNESS_RATIO = 4.0
PAUSE_SECONDS = 1.0
MAX_VELOCITY = 127


@dataclass(frozen=True)
class NoteEvent:
    """A note as the synthesizer plays it; start and duration in seconds, drums on channel 9."""

    channel: int
    program: int
    pitch: int
    velocity: int
    start: float
    duration: float

    @property
    def end(self) -> float:
        """Seconds from the start of the cut."""
        return self.start + self.duration

    def moved(self, seconds: float) -> "NoteEvent":
        """Later by `seconds`."""
        return replace(self, start=self.start + seconds)

    @property
    def is_drum(self) -> bool:
        """Whether the pitch names a drum."""
        return self.channel == DRUM_CHANNEL


def apply_change(events: Sequence[NoteEvent], change: str, time: float) -> list[NoteEvent]:
    """The events with a change at `time` (seconds); notes that sound on through it are struck anew.

    Args:
        events: in any order.
        change: "louder", "softer" or "pause".
        time: when the change begins.
    """
    if change == "pause":
        return [part for event in events for part in _paused(event, time)]
    ratio = LOUDNESS_RATIO if change == "louder" else 1 / LOUDNESS_RATIO
    return [part for event in events for part in _scaled(event, time, ratio)]


def _scaled(event: NoteEvent, time: float, ratio: float) -> list[NoteEvent]:
    velocity = min(MAX_VELOCITY, max(1, round(event.velocity * ratio)))
    if event.start >= time:
        return [replace(event, velocity=velocity)]
    if event.end <= time or event.is_drum:
        return [event]
    rest = replace(event, start=time, duration=event.end - time, velocity=velocity)
    return [replace(event, duration=time - event.start), rest]


def _paused(event: NoteEvent, time: float) -> list[NoteEvent]:
    """What of the event lies before and after the pause."""
    resume = time + PAUSE_SECONDS
    if event.end <= time or event.start >= resume:
        return [event]
    before = [replace(event, duration=time - event.start)] if event.start < time else []
    # A held note goes on after the pause; a drum's stroke does not.
    if event.end <= resume or event.is_drum:
        return before
    return [*before, replace(event, start=resume, duration=event.end - resume)]
