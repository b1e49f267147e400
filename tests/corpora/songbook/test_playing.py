import pytest

from music_flamingo.corpora.songbook.dynamics import NoteEvent
from music_flamingo.corpora.songbook.palette import HIHAT, KICK, SNARE
from music_flamingo.corpora.songbook.playing import Excerpt, play_drums, play_lines, without_collisions

from .pieces import line, piece


def note(start: float, duration: float, pitch: int = 72, channel: int = 0) -> NoteEvent:
    return NoteEvent(channel, 73, pitch, 64, start, duration)


def test_tempo_counts_quarters_and_in_compound_meters_dotted_quarters() -> None:
    jig = piece(line((60,), 0.5, 8, 3.0), meter="6/8", bar_quarters=3.0)
    assert Excerpt(piece(), 0.0, 8.0, 120).seconds_per_quarter == pytest.approx(0.5)
    assert Excerpt(jig, 0.0, 8.0, 120).seconds_per_quarter == pytest.approx(1 / 3)


def test_lines_are_transposed_timed_and_accented_by_their_place_in_the_bar() -> None:
    excerpt = Excerpt(piece(), 3.0, 4.0, 120)
    events = play_lines(excerpt, [[(0.0, 1.0, 72), (1.0, 1.5, 74), (2.5, 0.5, 76)]], "flute", 1, 2)
    assert [(event.pitch, event.start, event.duration) for event in events] == [
        (74, 0.0, 0.5),
        (76, 0.5, 0.75),
        (78, 1.25, 0.25),
    ]
    assert [event.velocity for event in events] == [32, 36, 29]
    assert {(event.channel, event.program) for event in events} == {(1, 73)}


def test_long_notes_of_the_marimba_are_struck_again() -> None:
    events = play_lines(Excerpt(piece(), 0.0, 4.0, 60), [[(0.0, 0.25, 72)]], "marimba", 0, 0)
    assert [(event.start, event.duration) for event in events] == [(0.0, 0.125), (0.125, 0.125)]


def test_drums_follow_the_bars_of_the_piece() -> None:
    events = play_drums(Excerpt(piece(), 2.0, 4.0, 60))
    times = {drum: [event.start for event in events if event.pitch == drum] for drum in (KICK, SNARE, HIHAT)}
    assert times[KICK] == [0.0, 2.0]
    assert times[SNARE] == [1.0, 3.0]
    assert times[HIHAT] == [index / 2 for index in range(8)]


@pytest.mark.parametrize(("meter", "bar", "kicks"), [("3/4", 3.0, 3), ("2/4", 2.0, 4), ("6/8", 3.0, 3)])
def test_every_bar_begins_with_a_kick(meter: str, bar: float, kicks: int) -> None:
    tune = piece(line((60,), 0.5, 8, bar), meter=meter, bar_quarters=bar)
    excerpt = Excerpt(tune, 0.0, 9.0 if bar == 3.0 else 8.0, 60)
    onsets = [event.start / excerpt.seconds_per_quarter for event in play_drums(excerpt) if event.pitch == KICK]
    assert onsets == pytest.approx([index * bar for index in range(kicks)])


def test_a_key_that_is_down_is_released_before_it_is_struck() -> None:
    assert without_collisions([note(1.0, 1.0), note(0.0, 3.0)]) == [note(0.0, 1.0), note(1.0, 2.0)]


def test_of_two_notes_struck_together_the_longer_stays() -> None:
    assert without_collisions([note(0.0, 1.0), note(0.0, 2.0)]) == [note(0.0, 2.0)]


def test_other_keys_and_other_channels_do_not_collide() -> None:
    events = [note(0.0, 2.0), note(1.0, 1.0, pitch=73), note(1.5, 1.0, channel=1)]
    assert without_collisions(events) == events
