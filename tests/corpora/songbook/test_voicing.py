from music_flamingo.corpora.songbook.palette import Instrument
from music_flamingo.corpora.songbook.voicing import (
    Voicing,
    choose_voicing,
    enter_at,
    fill_rests,
    fit_range,
    group_lines,
    is_well_covered,
    unroll,
    voice,
)

from .pieces import chorale, line, piece

FLUTE = Instrument(73, 60, 84, 70)


def test_an_excerpt_counts_from_its_start() -> None:
    assert unroll(piece(), 0, 4.0, 3.0) == [(0.0, 1.0, 74), (1.0, 1.0, 76), (2.0, 1.0, 78)]


def test_a_piece_that_ends_begins_anew() -> None:
    tune = piece(((0.0, 4.0, 60), (4.0, 4.0, 62)), bars=2)
    assert unroll(tune, 0, 4.0, 10.0) == [(0.0, 4.0, 62), (4.0, 4.0, 60), (8.0, 2.0, 62)]


def test_the_upbeat_is_played_before_the_second_lap_only() -> None:
    tune = piece(((-1.0, 1.0, 55), (0.0, 3.0, 60)), bars=1)
    assert unroll(tune, 0, 0.0, 8.0) == [(0.0, 3.0, 60), (3.0, 1.0, 55), (4.0, 3.0, 60), (7.0, 1.0, 55)]


def test_an_upbeat_cuts_the_last_note_short() -> None:
    tune = piece(((-1.0, 1.0, 55), (0.0, 4.0, 60)), bars=1)
    assert unroll(tune, 0, 0.0, 5.0) == [(0.0, 3.0, 60), (3.0, 1.0, 55), (4.0, 1.0, 60)]


def test_a_note_held_over_the_start_is_struck_there() -> None:
    tune = piece(((0.0, 3.0, 60), (3.0, 1.0, 62)), bars=1)
    assert unroll(tune, 0, 1.0, 3.0) == [(0.0, 2.0, 60), (2.0, 1.0, 62)]


def test_textures_take_the_tune_the_outer_parts_or_all() -> None:
    four = chorale()
    assert choose_voicing(four, 0.0, 8.0, "solo") == Voicing((0,), 0)
    assert choose_voicing(four, 0.0, 8.0, "duet") == Voicing((0, 3), 0)
    assert choose_voicing(four, 0.0, 8.0, "full") == Voicing((0, 1, 2, 3), 0)


def test_a_lonely_tune_gets_drones_on_the_tonic_the_fifth_and_the_tenth() -> None:
    tune = piece()
    assert choose_voicing(tune, 0.0, 8.0, "duet") == Voicing((0,), 1)
    full = choose_voicing(tune, 0.0, 8.0, "full")
    assert full == Voicing((0,), 3)
    _, tonic, fifth, tenth = voice(tune, full, 0.0, 4.0)
    for drone, pitch in ((tonic, 55), (fifth, 62), (tenth, 71)):
        assert drone == [(onset, 1.0, pitch) for onset in (0.0, 1.0, 2.0, 3.0)]


def test_drones_keep_to_the_beats_of_the_piece_and_sound_from_the_start() -> None:
    _, drone = voice(piece(), Voicing((0,), 1), 1.5, 3.0)
    assert [onset for onset, _, _ in drone] == [0.0, 0.5, 1.5, 2.5]


def test_drones_of_compound_meters_last_a_dotted_quarter() -> None:
    jig = piece(line((60,), 0.5, 8, 3.0), meter="6/8", bar_quarters=3.0)
    _, drone = voice(jig, Voicing((0,), 1), 0.0, 6.0)
    assert [onset for onset, _, _ in drone] == [0.0, 1.5, 3.0, 4.5]


def test_parts_that_mostly_rest_are_passed_over() -> None:
    resting = ((0.0, 1.0, 90),)
    trio = piece(resting, line((72,)), line((60,)))
    assert choose_voicing(trio, 0.0, 8.0, "solo").parts == (1,)
    assert choose_voicing(trio, 0.0, 8.0, "full") == Voicing((1, 2), 2)
    assert is_well_covered(trio, 0.0, 8.0, "duet")
    assert not is_well_covered(trio, 0.0, 8.0, "full")


def test_a_tune_alone_is_well_covered_whatever_the_texture() -> None:
    assert is_well_covered(piece(), 0.0, 8.0, "full")


def test_the_first_instrument_takes_the_upper_or_the_lower_lines() -> None:
    lines = [[(0.0, 1.0, pitch)] for pitch in (72, 67, 60)]
    assert group_lines(lines, is_upper_first=True) == (lines[:1], lines[1:])
    assert group_lines(lines, is_upper_first=False) == (lines[1:], lines[:1])
    assert group_lines(lines[:1], is_upper_first=False) == (lines[:1], [])


def test_a_low_part_moves_up_by_octaves_as_one() -> None:
    assert fit_range([(0.0, 1.0, 50), (1.0, 1.0, 57)], 0, FLUTE) == [(0.0, 1.0, 62), (1.0, 1.0, 69)]


def test_notes_still_outside_the_range_are_folded_back() -> None:
    fitted = fit_range([(0.0, 1.0, 72), (1.0, 1.0, 74), (2.0, 1.0, 40)], 2, FLUTE)
    assert [pitch for _, _, pitch in fitted] == [74, 76, 66]


def test_nothing_moves_within_the_range() -> None:
    assert fit_range([(0.0, 1.0, 72)], -3, FLUTE) == [(0.0, 1.0, 69)]
    assert fit_range([], 5, FLUTE) == []


def test_a_long_rest_of_all_lines_is_filled_and_a_short_one_kept() -> None:
    lines = [[(0.0, 1.0, 60), (3.0, 1.0, 62)], [(0.0, 0.5, 48), (4.5, 0.5, 50)]]
    filled = fill_rests(lines, length=8.0, longest=0.5)
    assert filled[0] == [(0.0, 3.0, 60), (3.0, 1.0, 62)]
    assert filled[1] == [(0.0, 0.5, 48), (4.5, 3.5, 50)]


def test_an_entry_cuts_the_note_that_sounds_then() -> None:
    lines = [[(0.0, 4.0, 60), (4.0, 1.0, 62)], [(1.0, 1.0, 50)]]
    assert enter_at(lines, 3.0) == [[(3.0, 1.0, 60), (4.0, 1.0, 62)], []]


def test_an_entry_in_a_rest_brings_the_next_note_forward() -> None:
    assert enter_at([[(0.0, 1.0, 60), (4.0, 1.0, 62)]], 3.0) == [[(3.0, 2.0, 62)]]
    assert enter_at([], 3.0) == []
