import random
from statistics import median
from typing import Any

import pytest

from music_flamingo.corpora.songbook.arrangement import Arrangement, arrange
from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import PALETTE
from music_flamingo.corpora.songbook.schedule import CHANGES, TEXTURES, Plan
from music_flamingo.corpora.songbook.scores import Piece

from .pieces import SCALE, chorale, clip, line, piece, setting

FULL = Plan(
    "full-00000",
    "train",
    "folder/tune",
    120.0,
    setting(),
    None,
    (("solo", 0.0), ("full", 0.35), ("duet", 0.7)),
)


def melodic(arrangement: Arrangement) -> list[NoteEvent]:
    return [event for event in arrangement.events if not event.is_drum]


def random_arrangements(count: int) -> list[tuple[Piece, Plan, Arrangement]]:
    """Clips of a tune and of a chorale with every setting drawn at random."""
    rng = random.Random(0)
    jig = piece(line(SCALE, 0.5, 8, 3.0), meter="6/8", bar_quarters=3.0)
    made = []
    for _ in range(count):
        one = rng.choice((piece(), jig, chorale()))
        first, second = rng.sample(sorted(PALETTE), 2)
        choices: dict[str, Any] = {name: rng.random() for name in ("start", "entry", "change_at", "chord")}
        plan = clip(
            rng.choice(TEXTURES),
            rng.choice(CHANGES),
            instruments=(first, second),
            drums=rng.random() < 0.5,
            bpm=rng.randint(60, 148),
            tonic=rng.randrange(12),
            is_upper_first=rng.random() < 0.5,
            **choices,
        )
        made.append((one, plan, arrange(one, plan)))
    return made


ARRANGEMENTS = random_arrangements(60)


def test_a_solo_is_the_tune_from_the_drawn_bar_in_the_drawn_key() -> None:
    arrangement = arrange(piece(), clip("solo", tonic=9, start=0.125))
    first = arrangement.events[0]
    # Bar 1 begins on the fifth note of the scale, D; two semitones up it is E.
    assert (first.start, first.duration, first.pitch, first.program) == (0.0, 1.0, 76, 73)
    assert len(arrangement.events) == 10


def test_the_truth_of_a_solo() -> None:
    assert arrange(piece(dance="reel"), clip("solo", tonic=10, drums=True)).truth == {
        "instruments": ["flute"],
        "first_instrument": "flute",
        "last_instrument": "flute",
        "entries": [{"instrument": "flute", "start": 0.0}],
        "last_entry": 0.0,
        "drums": True,
        "texture": "solo",
        "bpm": 60,
        "tempo": "slow",
        "meter": "4/4",
        "tonic": "Bb",
        "mode": "major",
        "change": "none",
        "change_time": None,
        "chord": None,
        "sections": None,
        "section_starts": None,
        "dance": "reel",
    }


@pytest.mark.parametrize(("bpm", "tempo"), [(87, "slow"), (88, "moderate"), (120, "moderate"), (121, "fast")])
def test_tempo_classes(bpm: int, tempo: str) -> None:
    assert arrange(piece(), clip(bpm=bpm)).truth["tempo"] == tempo


def test_the_second_instrument_enters_on_the_drawn_onset_and_is_silent_before() -> None:
    arrangement = arrange(chorale(), clip("duet", entry=0.7))
    assert arrangement.truth["entries"] == [
        {"instrument": "flute", "start": 0.0},
        {"instrument": "violin", "start": 3.0},
    ]
    assert min(event.start for event in arrangement.events if event.program == 40) == 3.0


def test_the_lower_lines_may_come_first() -> None:
    arrangement = arrange(chorale(), clip("duet", is_upper_first=False, instruments=("piano", "flute")))
    assert arrangement.events[0].pitch % 12 == 7
    assert arrangement.events[0].program == 0


def test_a_piece_that_begins_with_a_rest_is_moved_to_its_first_note() -> None:
    arrangement = arrange(piece(((2.5, 1.0, 67), *line(SCALE)[4:])), clip())
    assert (arrangement.events[0].start, arrangement.events[0].pitch) == (0.0, 67)


def test_a_rest_long_enough_to_be_taken_for_a_pause_is_filled() -> None:
    arrangement = arrange(piece(((0.0, 1.0, 67), (3.0, 0.75, 69), *line(SCALE)[4:])), clip())
    assert [(event.start, event.duration) for event in arrangement.events[:2]] == [(0.0, 3.0), (3.0, 0.75)]


def test_the_chord_is_one_that_sounds() -> None:
    assert arrange(chorale(), clip("full")).truth["chord"] == {"start": 1.0, "name": "D major"}


def test_a_tune_over_drones_has_no_chord_to_ask_for() -> None:
    assert arrange(piece(line((71,))), clip("full")).truth["chord"] is None


@pytest.mark.parametrize("index", range(len(ARRANGEMENTS)))
def test_any_clip_keeps_what_its_truth_says(index: int) -> None:
    _, plan, arrangement = ARRANGEMENTS[index]
    truth, events = arrangement.truth, arrangement.events
    played = {
        name
        for name, instrument in PALETTE.items()
        if any(e.program == instrument.program for e in melodic(arrangement))
    }
    assert played == set(truth["instruments"])
    assert len(played) == (1 if plan.texture == "solo" else 2)
    assert min(event.start for event in melodic(arrangement)) == 0.0
    assert any(event.is_drum for event in events) == truth["drums"]
    if plan.texture != "solo":
        assert 1.0 <= truth["last_entry"] <= 3.5
    if plan.change != "none":
        assert 3.5 <= truth["change_time"] <= 7.0
    assert all(
        PALETTE[name].low <= event.pitch <= PALETTE[name].high
        for name in played
        for event in melodic(arrangement)
        if event.program == PALETTE[name].program
    )


@pytest.mark.parametrize("index", range(len(ARRANGEMENTS)))
def test_any_clip_sounds_throughout_but_for_its_pause(index: int) -> None:
    _, plan, arrangement = ARRANGEMENTS[index]
    pause = arrangement.hush_at
    until = 0.0
    for event in sorted(melodic(arrangement), key=lambda event: event.start):
        silence = event.start - until
        assert silence < 0.51 or (pause is not None and until <= pause + 1e-9 and silence < 1.51)
        until = max(until, event.end)
    assert until == pytest.approx(plan.seconds)
    assert (pause is not None) == (plan.change == "pause")
    if pause is not None:
        assert not [
            event for event in arrangement.events if event.start < pause + 1 - 1e-9 and event.end > pause + 1e-9
        ]


def test_the_first_instrument_steps_back_when_the_second_enters() -> None:
    arrangement = arrange(chorale(), clip("duet", entry=0.5))
    entry = arrangement.truth["last_entry"]
    loudness: dict[str, set[float]] = {"before": set(), "after": set(), "second": set()}
    for event in melodic(arrangement):
        when = "before" if event.start < entry else "after"
        loudness["second" if event.channel else when].add(round(event.velocity / 32, 1))
    assert entry > 0
    # 1.1 and 0.6 are the accents on the first beat of a bar.
    assert loudness == {"before": {1.0, 1.1}, "after": {0.5, 0.6}, "second": {1.0, 1.1}}


@pytest.mark.parametrize(("change", "low", "high"), [("louder", 3.7, 4.1), ("softer", 0.22, 0.28)])
def test_loudness_changes_for_everybody_at_the_change_time(change: str, low: float, high: float) -> None:
    arrangement = arrange(chorale(), clip("full", change, drums=True, change_at=0.5))
    time, entry = arrangement.truth["change_time"], arrangement.truth["last_entry"]
    for is_drum in (False, True):
        heard = [e for e in arrangement.events if e.start >= entry and e.is_drum == is_drum]
        before = [e.velocity for e in heard if e.start < time]
        after = [e.velocity for e in heard if e.start >= time]
        assert low < median(after) / median(before) < high


@pytest.mark.parametrize("index", range(len(ARRANGEMENTS)))
def test_changes_keep_clear_of_entries(index: int) -> None:
    truth = ARRANGEMENTS[index][2].truth
    if truth["change_time"] is not None and truth["last_entry"] > 0:
        distance = truth["change_time"] - truth["last_entry"]
        assert distance > 0.79 or distance < -1.29


def test_the_same_piece_and_plan_give_the_same_notes() -> None:
    one, plan, arrangement = ARRANGEMENTS[0]
    assert arrange(one, plan) == arrangement


def test_a_full_piece_changes_texture_at_the_bars_nearest_to_its_plan() -> None:
    truth = arrange(chorale(), FULL).truth
    assert truth["sections"] == ["solo", "full", "duet"]
    # At 60 quarters a minute a bar of four lasts 4 s; 42 s and 84 s are 10.5 and 21 bars.
    assert truth["section_starts"] == [0.0, 40.0, 84.0]
    assert (truth["texture"], truth["change"]) == (None, "none")


def test_the_second_instrument_of_a_full_piece_enters_with_the_first_section_for_two() -> None:
    truth = arrange(chorale(), FULL).truth
    assert truth["entries"] == [
        {"instrument": "flute", "start": 0.0},
        {"instrument": "violin", "start": 40.0},
    ]


def test_a_full_piece_that_begins_with_two_lets_the_second_enter_in_its_first_ten_seconds() -> None:
    plan = Plan("full-00000", "train", "folder/tune", 90.0, setting(entry=0.99), None, (("full", 0.0), ("solo", 0.5)))
    arrangement = arrange(chorale(), plan)
    assert arrangement.truth["last_entry"] == 10.0
    solo = {event.program for event in arrangement.events if event.start >= 44.0}
    assert solo == {PALETTE["violin"].program}


def test_sections_sound_as_many_lines_as_they_say() -> None:
    arrangement = arrange(chorale(), FULL)
    lines = [sum(event.start <= time < event.end for event in arrangement.events) for time in (20.5, 60.5, 100.5)]
    assert lines == [1, 4, 2]
