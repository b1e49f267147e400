from collections import Counter

import pytest

from music_flamingo.rewards.answer import (
    read_bpm,
    read_key,
    read_list,
    read_meter,
    read_number,
    read_seconds,
    strip_lead_in,
)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C", (0, "")),
        ("C# minor", (1, "minor")),
        ("Db minor", (1, "minor")),
        ("B#", (0, "")),
        ("Cb major", (11, "major")),
        ("Bbm", (10, "minor")),
        ("Bb", (10, "")),
        ("F## major", (7, "major")),
        ("D dorian", (2, "dorian")),
        ("G major chord", (7, "major")),
        ("H major", None),
        ("G major, A minor", None),
        ("major", None),
    ],
)
def test_a_key_is_a_pitch_class_and_a_mode(text: str, key: tuple[int, str] | None) -> None:
    assert read_key(text) == key


@pytest.mark.parametrize(
    ("text", "bpm"),
    [
        ("96", 96),
        ("The tempo is 96.5 BPM.", 96.5),
        ("~ 96", 96),
        ("1250 BPM", 1250),
        ("90-100", None),
        ("bpm", None),
    ],
)
def test_a_tempo_is_one_number(text: str, bpm: float | None) -> None:
    assert read_bpm(text) == bpm


@pytest.mark.parametrize(
    ("text", "meter"),
    [("6/8", (6, 8)), ("3 / 4 time", (3, 4)), ("in 4/4", (4, 4)), ("3/4/4", None), ("0.75", None)],
)
def test_a_meter_is_a_pair(text: str, meter: tuple[int, int] | None) -> None:
    assert read_meter(text) == meter


@pytest.mark.parametrize(
    ("text", "number"), [("twelve", 12), ("-2.5", -2.5), ("1" * 400, None), ("two or three", None)]
)
def test_a_number_is_digits_or_a_word(text: str, number: float | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(("text", "seconds"), [("4", 4), ("after 4.5 sec.", 4.5), ("2:03", 123), ("2:75", None)])
def test_a_time_is_in_seconds(text: str, seconds: float | None) -> None:
    assert read_seconds(text) == seconds


def test_a_list_counts_its_items() -> None:
    assert read_list("The instruments are a flute, drums and flute") == Counter(flute=2, drums=1)
    assert read_list(" , ; ") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hence, the final answer is: flute.", "flute"),
        ("It's a flute!", "a flute"),
        ("The correct answer is : (B) flute", "(b) flute"),
        ("the instruments are flute and oboe", "flute and oboe"),
        ("answer", "answer"),
        ("there are no drums", "no drums"),
    ],
)
def test_only_the_phrase_before_the_answer_goes(text: str, answer: str) -> None:
    assert strip_lead_in(text) == answer
