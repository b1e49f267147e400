from music_flamingo.corpora.songbook.chords import drawn_triad


def chord(start: float, end: float, *pitches: int) -> list[tuple[float, float, int]]:
    return [(start, end, pitch) for pitch in pitches]


def test_a_major_and_a_minor_triad_are_named_in_any_inversion() -> None:
    assert drawn_triad(chord(1.0, 2.0, 59, 67, 74), 0.0) == {"start": 1.0, "name": "G major"}
    assert drawn_triad(chord(0.5, 2.0, 60, 64, 69), 0.0) == {"start": 0.5, "name": "A minor"}


def test_flats_are_spelt_as_answers_spell_them() -> None:
    assert drawn_triad(chord(0.0, 1.0, 61, 65, 68), 0.0) == {"start": 0.0, "name": "Db major"}


def test_a_seventh_a_fifth_and_a_short_chord_are_none() -> None:
    assert drawn_triad(chord(0.0, 1.0, 55, 59, 62, 65), 0.0) is None
    assert drawn_triad(chord(0.0, 1.0, 55, 62), 0.0) is None
    assert drawn_triad(chord(0.0, 0.39, 55, 59, 62), 0.0) is None
    assert drawn_triad([], 0.0) is None


def test_a_chord_struck_twice_is_one_stretch() -> None:
    notes = chord(0.0, 0.3, 55, 59, 62) + chord(0.3, 0.6, 55, 59, 62)
    assert drawn_triad(notes, 0.0) == {"start": 0.0, "name": "G major"}


def test_a_chord_counts_only_while_no_other_note_sounds() -> None:
    notes = [*chord(0.0, 2.0, 55, 59, 62), (0.0, 1.5, 57)]
    assert drawn_triad(notes, 0.0) == {"start": 1.5, "name": "G major"}


def test_the_fraction_draws_among_the_names_and_the_longest_stretch_is_given() -> None:
    notes = chord(0.0, 0.5, 55, 59, 62) + chord(1.0, 2.0, 60, 64, 67) + chord(3.0, 3.8, 55, 59, 62)
    assert drawn_triad(notes, 0.49) == {"start": 1.0, "name": "C major"}
    assert drawn_triad(notes, 0.5) == {"start": 3.0, "name": "G major"}
