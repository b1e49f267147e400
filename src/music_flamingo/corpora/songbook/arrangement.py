"""From a piece and a plan to notes in seconds, and to what is true of them.

Pure functions: the same piece and plan give the same notes. Positions in a piece count in quarters, times in
seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from music_flamingo.corpora.songbook import dynamics
from music_flamingo.corpora.songbook.chords import drawn_triad
from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import TONICS, tempo_class
from music_flamingo.corpora.songbook.playing import Excerpt, play_drums, play_lines, without_collisions
from music_flamingo.corpora.songbook.schedule import Plan
from music_flamingo.corpora.songbook.scores import Piece
from music_flamingo.corpora.songbook.voicing import (
    Line,
    choose_voicing,
    enter_at,
    fill_rests,
    group_lines,
    is_well_covered,
    voice,
)

MIN_ENTRY_SECONDS = 1.0
MAX_ENTRY_SECONDS_OF_FULL_PIECE = 10.0
ACCOMPANIMENT = 0.5
"""Loudness of the first instrument once the second has entered, in its own before that. Not only for a moment: its
return would be taken for a change."""
CHANGE_WINDOW = (0.35, 0.70)
"""Fractions of the clip between which a change happens."""

# A change right at an entry would be heard as part of it; an entry within a pause would end it.
_FREE_BEFORE_ENTRY = dynamics.PAUSE_SECONDS + 0.3
_FREE_AFTER_ENTRY = 0.8
# Longer rests could be taken for a pause.
_MAX_REST_SECONDS = 0.5
_START_TRIES = 16
_HARMONY_PARTS = 3


@dataclass(frozen=True)
class Arrangement:
    """Notes in time order, and the `truth` of the cut they make; `hush_at` is where a pause begins."""

    events: tuple[NoteEvent, ...]
    truth: dict[str, Any]
    hush_at: float | None


@dataclass(frozen=True)
class _Section:
    """A stretch of one texture.

    Attributes:
        start: seconds from the start of the cut.
        entry_window: seconds between which the second instrument enters; None where both play from the start.
        soloist: which of the two instruments plays a solo.
    """

    texture: str
    start: float
    seconds: float
    entry_window: tuple[float, float] | None
    soloist: int


def arrange(piece: Piece, plan: Plan) -> Arrangement:
    """Notes and truth of a clip, or of a full piece where the plan has sections."""
    sections = _sections(piece, plan)
    excerpt = _first_excerpt(piece, plan, sections[0])
    events: list[NoteEvent] = []
    for section in sections:
        events += _play_section(_within(excerpt, section), plan, section)
    if plan.setting.drums:
        events += play_drums(excerpt)
    change_time = None
    if plan.change != "none":
        change_time = _change_time(events, plan)
        events = dynamics.apply_change(events, plan.change, change_time)
    events = without_collisions(events)
    truth = _truth(piece, plan, events) | {"change": plan.change, "change_time": _rounded(change_time)}
    if plan.sections:
        truth["sections"] = [section.texture for section in sections]
        truth["section_starts"] = [_rounded(section.start) for section in sections]
    return Arrangement(tuple(events), truth, change_time if plan.change == "pause" else None)


def _sections(piece: Piece, plan: Plan) -> list[_Section]:
    """A clip is one section; those of a full piece begin at the bars nearest to where the plan puts them."""
    if plan.texture is not None:
        # Before anything changes: what gets softer just after its entry would hardly be heard.
        before_change = (MIN_ENTRY_SECONDS, CHANGE_WINDOW[0] * plan.seconds)
        return [_Section(plan.texture, 0.0, plan.seconds, before_change, 0)]
    bar = piece.bar_quarters * Excerpt(piece, 0.0, 0.0, plan.setting.bpm).seconds_per_quarter
    starts = [round(fraction * plan.seconds / bar) * bar for _, fraction in plan.sections]
    ends = [*starts[1:], plan.seconds]
    sections = []
    for index, ((texture, _), start, end) in enumerate(zip(plan.sections, starts, ends, strict=True)):
        window = (MIN_ENTRY_SECONDS, min(MAX_ENTRY_SECONDS_OF_FULL_PIECE, (end - start) / 2)) if index == 0 else None
        sections.append(_Section(texture, start, end - start, window, index % 2))
    return sections


def _first_excerpt(piece: Piece, plan: Plan, section: _Section) -> Excerpt:
    """The whole cut, moved so that the first instrument's first note is at its start."""
    excerpt = Excerpt(piece, 0.0, 0.0, plan.setting.bpm)
    section_length = section.seconds / excerpt.seconds_per_quarter
    start = _first_bar(piece, plan.setting.start, section_length, section.texture) * piece.bar_quarters
    voicing = choose_voicing(piece, start, section_length, section.texture)
    first, _ = group_lines(voice(piece, voicing, start, section_length), plan.setting.is_upper_first)
    start += min((line[0][0] for line in first if line), default=0.0)
    return Excerpt(piece, start, plan.seconds / excerpt.seconds_per_quarter, plan.setting.bpm)


def _first_bar(piece: Piece, fraction: float, length: float, texture: str) -> int:
    """The bar drawn, or the first after it from which enough parts sound."""
    drawn = int(fraction * piece.bars)
    tried = [(drawn + step) % piece.bars for step in range(min(_START_TRIES, piece.bars))]
    fitting = (bar for bar in tried if is_well_covered(piece, bar * piece.bar_quarters, length, texture))
    return next(fitting, drawn)


def _within(excerpt: Excerpt, section: _Section) -> Excerpt:
    scale = excerpt.seconds_per_quarter
    return Excerpt(excerpt.piece, excerpt.start + section.start / scale, section.seconds / scale, excerpt.bpm)


def _play_section(excerpt: Excerpt, plan: Plan, section: _Section) -> list[NoteEvent]:
    """Events of one section, with times from the start of the cut."""
    groups = _groups(excerpt, plan, section)
    longest = _MAX_REST_SECONDS / excerpt.seconds_per_quarter
    lines = fill_rests([*groups[0], *groups[1]], excerpt.length, longest)
    semitones = (plan.setting.tonic - excerpt.piece.tonic + 6) % 12 - 6
    events: list[list[NoteEvent]] = []
    for index, played in enumerate((lines[: len(groups[0])], lines[len(groups[0]) :])):
        channel = section.soloist if section.texture == "solo" else index
        events.append(play_lines(excerpt, played, plan.setting.instruments[channel], channel, semitones))
    if section.entry_window is not None:
        events[0] = _stepped_back(*events)
    return [event.moved(section.start) for both in events for event in both]


def _stepped_back(first: list[NoteEvent], second: list[NoteEvent]) -> list[NoteEvent]:
    """The first instrument's events, quieter once the second plays, which is then heard and makes nothing louder."""
    entry = min((event.start for event in second), default=math.inf)
    return [
        replace(event, velocity=round(event.velocity * ACCOMPANIMENT)) if event.start >= entry else event
        for event in first
    ]


def _groups(excerpt: Excerpt, plan: Plan, section: _Section) -> tuple[list[Line], list[Line]]:
    """Lines of the first instrument, and of the second from its entry on."""
    voicing = choose_voicing(excerpt.piece, excerpt.start, excerpt.length, section.texture)
    lines = voice(excerpt.piece, voicing, excerpt.start, excerpt.length)
    first, second = group_lines(lines, plan.setting.is_upper_first)
    if section.entry_window is None:
        return enter_at(first, 0.0), enter_at(second, 0.0)
    low, high = (seconds / excerpt.seconds_per_quarter for seconds in section.entry_window)
    return first, enter_at(second, _drawn_onset(second, low, high, plan.setting.entry))


def _drawn_onset(lines: Sequence[Line], low: float, high: float, fraction: float) -> float:
    """An onset between `low` and `high`; where there is none, that point in time itself."""
    onsets = sorted({onset for line in lines for onset, _, _ in line if low <= onset <= high})
    return onsets[int(fraction * len(onsets))] if onsets else low + fraction * (high - low)


def _change_time(events: Sequence[NoteEvent], plan: Plan) -> float:
    """An onset in the change window that keeps clear of entries."""
    entries = [start for start in _entry_times(events).values() if start > 0]
    low, high = (fraction * plan.seconds for fraction in CHANGE_WINDOW)
    onsets = sorted({event.start for event in events if not event.is_drum and low <= event.start <= high})
    free = [
        onset
        for onset in onsets
        if all(not entry - _FREE_BEFORE_ENTRY < onset < entry + _FREE_AFTER_ENTRY for entry in entries)
    ]
    # Entries are over by half of the clip, so the end of the window is always free.
    return free[int(plan.setting.change_at * len(free))] if free else high


def _entry_times(events: Sequence[NoteEvent]) -> dict[int, float]:
    """First onset of each melodic channel."""
    times: dict[int, float] = {}
    for event in events:
        if not event.is_drum:
            times[event.channel] = min(event.start, times.get(event.channel, event.start))
    return times


def _truth(piece: Piece, plan: Plan, events: Sequence[NoteEvent]) -> dict[str, Any]:
    """Everything but what the change and the sections add."""
    times = sorted(_entry_times(events).items(), key=lambda item: item[1])
    entries = [{"instrument": plan.setting.instruments[channel], "start": _rounded(time)} for channel, time in times]
    notes = [(event.start, event.end, event.pitch) for event in events if not event.is_drum]
    # Over drones every triad is the tonic's, and the key would tell the chord.
    is_harmonised = len(piece.parts) >= _HARMONY_PARTS
    return {
        "instruments": [entry["instrument"] for entry in entries],
        "first_instrument": entries[0]["instrument"],
        "last_instrument": entries[-1]["instrument"],
        "entries": entries,
        "last_entry": entries[-1]["start"],
        "drums": plan.setting.drums,
        "texture": plan.texture,
        "bpm": plan.setting.bpm,
        "tempo": tempo_class(plan.setting.bpm),
        "meter": piece.meter,
        "tonic": TONICS[plan.setting.tonic],
        "mode": piece.mode,
        "chord": drawn_triad(notes, plan.setting.chord) if is_harmonised else None,
        "sections": None,
        "section_starts": None,
        "dance": piece.dance,
    }


def _rounded(seconds: float | None) -> float | None:
    """To milliseconds."""
    return None if seconds is None else round(seconds, 3)
