from music_flamingo.corpora.songbook.observations import observe

from .truths import duet, full_piece, solo


def test_a_duet_is_noted_from_first_entry_to_change() -> None:
    assert observe(duet()) == [
        {"field": "first_instrument", "value": "flute", "start": 0.0},
        {"field": "last_instrument", "value": "violin", "start": 3.9},
        {"field": "texture", "value": "duet", "start": None},
        {"field": "drums", "value": "drums", "start": None},
        {"field": "tempo", "value": "fast", "start": None},
        {"field": "change", "value": "louder", "start": 5.1},
    ]


def test_a_solo_has_no_last_instrument_and_no_change() -> None:
    noted = {observation["field"]: observation["value"] for observation in observe(solo())}
    assert noted == {
        "first_instrument": "oboe",
        "texture": "solo",
        "drums": "no drums",
        "tempo": "slow",
        "steady": "no change",
    }


def test_a_full_piece_has_no_one_texture_and_is_not_steady() -> None:
    assert not {"texture", "steady"} & {observation["field"] for observation in observe(full_piece())}
