from music_flamingo.corpora.songbook.dynamics import NoteEvent, apply_change


def note(start: float, duration: float, velocity: int = 60, channel: int = 0) -> NoteEvent:
    return NoteEvent(channel, 73, 72, velocity, start, duration)


def test_louder_multiplies_velocity_from_then_on() -> None:
    assert apply_change([note(0.0, 1.0, 30), note(2.0, 1.0, 30)], "louder", 2.0) == [
        note(0.0, 1.0, 30),
        note(2.0, 1.0, 120),
    ]


def test_softer_divides_it_and_strikes_held_notes_anew() -> None:
    assert apply_change([note(0.0, 4.0)], "softer", 3.0) == [note(0.0, 3.0), note(3.0, 1.0, 15)]


def test_velocity_stays_within_midi() -> None:
    assert apply_change([note(1.0, 1.0, 100)], "louder", 1.0) == [note(1.0, 1.0, 127)]


def test_a_drum_stroke_is_not_struck_anew() -> None:
    drum = note(0.95, 0.1, channel=9)
    assert apply_change([drum], "louder", 1.0) == [drum]


def test_nothing_sounds_in_a_pause_and_held_notes_go_on_after_it() -> None:
    events = [note(0.0, 5.0), note(2.5, 0.25), note(2.5, 1.0), note(3.0, 1.0)]
    assert apply_change(events, "pause", 2.0) == [
        note(0.0, 2.0),
        note(3.0, 2.0),
        note(3.0, 0.5),
        note(3.0, 1.0),
    ]


def test_drums_pause_too() -> None:
    assert apply_change([note(2.0, 0.1, channel=9), note(2.95, 0.1, channel=9)], "pause", 2.0) == []
