import json
import re

from music_flamingo.corpora.songbook import catalogue, palette, schedule, vocabulary
from music_flamingo.corpora.songbook.vocabulary import chord_symbol, songbook_vocabulary, texture_phrase


def _sentences() -> list[tuple[str, str, str]]:
    steps = songbook_vocabulary()["steps"]
    return [
        (field, value, step["template"].format(value=value, seconds=7))
        for field, step in steps.items()
        for value in step["values"]
    ]


def _readings(sentence: str) -> list[tuple[str, str]]:
    found = []
    for field, step in songbook_vocabulary()["steps"].items():
        for value in step["values"]:
            pattern = re.escape(step["template"]).replace(r"\{value\}", value).replace(r"\{seconds\}", r"\d+")
            if re.fullmatch(pattern, sentence):
                found.append((field, value))
    return found


def test_every_sentence_is_read_back_in_exactly_one_way() -> None:
    assert all(_readings(sentence) == [(field, value)] for field, value, sentence in _sentences())


def test_no_sentence_holds_the_border_between_steps() -> None:
    assert not [sentence for _, _, sentence in _sentences() if "." in sentence]


def test_all_tokens_of_steps_are_lower_case_and_single_spaced() -> None:
    assert all(" ".join(sentence.lower().split()) == sentence for _, _, sentence in _sentences())


def test_vocabulary_survives_json() -> None:
    assert json.loads(json.dumps(songbook_vocabulary())) == songbook_vocabulary()


def test_a_caller_cannot_change_the_vocabulary_of_the_next() -> None:
    songbook_vocabulary()["fields"]["texture"].clear()
    assert songbook_vocabulary()["fields"]["texture"] == ["solo", "duet", "full"]


def test_chord_symbols_are_no_key_names() -> None:
    fields = songbook_vocabulary()["fields"]
    assert chord_symbol("F# minor") == "F#min chord"
    assert not set(fields["theory"]) & set(fields["key"])


def test_texture_is_said_as_in_the_steps() -> None:
    assert texture_phrase("full") == "full texture"


def test_what_is_played_can_be_said() -> None:
    assert set(vocabulary.INSTRUMENTS) == set(palette.PALETTE)
    assert vocabulary.TONICS == palette.TONICS
    assert vocabulary.TEXTURES == schedule.TEXTURES
    assert {"none", *vocabulary.CHANGES} == set(schedule.CHANGES)
    assert set(vocabulary.TEMPI) == {palette.tempo_class(bpm) for bpm in vocabulary.BPM_RANGE}


def test_what_the_scores_are_can_be_said() -> None:
    assert set(vocabulary.METERS) == {heard for heard, _ in catalogue.METERS.values()}
    assert set(vocabulary.DANCES) == set(catalogue.DANCES)
    assert set(vocabulary.TRADITIONS) == set(catalogue.LICENCES)
