import pytest

from music_flamingo.rewards.mention import (
    mentioned_keys,
    mentioned_meters,
    mentioned_tempi,
    mentioned_words,
    word_pattern,
)
from music_flamingo.rewards.normalise import fold

INSTRUMENTS = ["flute", "bass", "bass guitar", "guitar", "drums", "horn"]


def words(text: str) -> list[str]:
    return mentioned_words(word_pattern(INSTRUMENTS), text, INSTRUMENTS)


def test_words_are_whole_and_longer_values_come_first() -> None:
    assert words("a bass guitar and flutes over hornpipe") == ["bass guitar", "flute"]


def test_singular_and_plural_state_the_same_value() -> None:
    assert words("a drum , two horns , bass") == ["drums", "horn", "bass"]


def test_every_mention_counts() -> None:
    assert words("flute then flute") == ["flute", "flute"]


@pytest.mark.parametrize("text", ["no drums", "without any drums", "there is not a drum", "never drums"])
def test_a_negated_value_is_not_stated(text: str) -> None:
    assert words(text) == []


def test_without_values_there_is_nothing_to_look_for() -> None:
    assert word_pattern([]) is None


@pytest.mark.parametrize(
    ("text", "tempi"),
    [
        ("at 96 BPM", {96}),
        ("3/4 , 96 bpm", {96}),
        ("3/4 and 96 bpm", {96}),
        ("1250 BPM", {1250}),
        ("12500 BPM", set()),
        ("between 60 and 120 bpm", {60, 120}),
        ("60-120 bpm", {60, 120}),
        ("60 bpm to 120 bpm", {60, 120}),
        ("a tempo of 96.5", {96.5}),
        ("tempo: 96, later tempo 100", {96, 100}),
        ("fast tempo at 5 s it gets louder", set()),
        ("tempo 3/4", set()),
        ("96 beats per minute", {96}),
        ("96 bpms", set()),
        ("not 96 bpm, not at 120 bpm", set()),
    ],
)
def test_tempi_are_numbers_with_their_unit(text: str, tempi: set[float]) -> None:
    assert mentioned_tempi(fold(text)) == tempi


@pytest.mark.parametrize(
    ("text", "meters"),
    [
        ("in 3 / 4 .", {(3, 4)}),
        ("3/4 and 6/8", {(3, 4), (6, 8)}),
        ("13/4", {(13, 4)}),
        ("1/2/2020", set()),
        ("5/7", set()),
        ("not in 3/4", set()),
    ],
)
def test_meters_are_written_fractions(text: str, meters: set[tuple[int, int]]) -> None:
    assert mentioned_meters(fold(text)) == meters


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("in G minor.", {(7, "minor")}),
        ("g minor , later bb major", {(7, "minor"), (10, "major")}),
        ("C♯ minor, that is Db minor", {(1, "minor")}),
        ("a minor , 3/4", {(9, "minor")}),
        ("in A minor with strings", {(9, "minor")}),
        ("the key: A major", {(9, "major")}),
        ("a minor detail, a major change", set()),
        ("a G major chord, a C minor triad, the D major scale", set()),
        ("not in G minor", set()),
        ("big minor", set()),
    ],
)
def test_keys_are_a_note_and_a_mode(text: str, keys: set[tuple[int, str]]) -> None:
    assert mentioned_keys(fold(text)) == keys
