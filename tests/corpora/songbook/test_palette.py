"""Instruments and meters are named in two places, as rewards read the vocabulary: both must say the same."""

from music_flamingo.corpora.songbook import vocabulary
from music_flamingo.corpora.songbook.catalogue import DANCES, LICENCES, METERS
from music_flamingo.corpora.songbook.palette import DRUM_PATTERNS, PALETTE, TONICS, beat_quarters


def test_the_vocabulary_names_what_the_songbook_plays() -> None:
    assert set(PALETTE) == set(vocabulary.INSTRUMENTS)
    assert TONICS == vocabulary.TONICS
    assert set(DANCES) == set(vocabulary.DANCES)
    assert set(LICENCES) == set(vocabulary.TRADITIONS)


def test_every_meter_has_drums_and_a_name() -> None:
    heard = {meter for meter, _ in METERS.values()}
    assert heard == set(DRUM_PATTERNS) == set(vocabulary.METERS)


def test_drum_patterns_stay_within_their_bar() -> None:
    for meter, pattern in DRUM_PATTERNS.items():
        beats, unit = (int(number) for number in meter.split("/"))
        assert max(*pattern.kick, *pattern.snare, *pattern.hihat) < beats * 4 / unit


def test_the_beat_of_a_compound_meter_is_a_dotted_quarter() -> None:
    assert (beat_quarters("6/8"), beat_quarters("3/4")) == (1.5, 1.0)
