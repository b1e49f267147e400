import random

import pytest

from music_flamingo.corpora.songbook.distractors import CLOSED_VALUES, wrong_values
from music_flamingo.corpora.songbook.vocabulary import BPM_RANGE, INSTRUMENTS, KEYS


@pytest.mark.parametrize("field", CLOSED_VALUES)
def test_values_of_closed_lists_are_wrong_and_distinct(field: str) -> None:
    values = CLOSED_VALUES[field]
    for value in values:
        wrong = wrong_values(field, value, 3, random.Random(0))
        assert len(wrong) == len(set(wrong)) == min(3, len(values) - 1)
        assert value not in wrong


@pytest.mark.parametrize("bpm", BPM_RANGE)
def test_every_tempo_has_three_wrong_ones(bpm: int) -> None:
    assert all(len(wrong_values("bpm", str(bpm), 3, random.Random(seed))) == 3 for seed in range(20))


@pytest.mark.parametrize("field", ["entry_time", "change_time"])
def test_every_second_has_two_wrong_ones(field: str) -> None:
    for second in range(61):
        assert all(len(wrong_values(field, str(second), 2, random.Random(seed))) == 2 for seed in range(20))


def test_every_key_has_three_wrong_ones() -> None:
    for key in KEYS:
        wrong = wrong_values("key", key, 3, random.Random(0))
        assert len({key, *wrong}) == 4
        assert set(wrong) <= set(KEYS)


def test_the_instrument_of_a_solo_is_mistaken_for_one_other() -> None:
    assert set(wrong_values("instruments", "oboe", 3, random.Random(0))) < set(INSTRUMENTS) - {"oboe"}


def test_preferred_values_come_first_unless_they_are_right() -> None:
    wrong = wrong_values("first_instrument", "oboe", 2, random.Random(0), preferred=["oboe", "flute"])
    assert wrong[0] == "flute"
    assert wrong[1] not in ("oboe", "flute")
