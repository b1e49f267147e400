from typing import Any

import pytest

from music_flamingo.corpora.formats.fields import path_of, record_of, sounds_of
from music_flamingo.corpora.formats.record import NotImportedError, Sound


@pytest.mark.parametrize(
    ("row", "sounds"),
    [
        ({}, ()),
        ({"sound": None, "audio": "", "audios": []}, ()),
        ({"audio_path": "a.wav"}, (Sound("a.wav"),)),
        ({"audio": {"path": "a.wav", "bytes": b"x"}}, (Sound("a.wav"),)),
        ({"sound": ["a.wav"], "duration": 2}, (Sound("a.wav", None, 2.0),)),
        ({"sound": "a.wav", "start": 1, "duration": 2}, (Sound("a.wav", 1.0, 2.0),)),
        ({"sound": "a.wav", "audio_start": "1.5", "end_time": 2}, (Sound("a.wav", 1.5, 0.5),)),
        ({"sound": "a.wav", "end": 2}, (Sound("a.wav", 0.0, 2.0),)),
        ({"sound": "a.wav", "start": None, "sampling_rate": 8000}, (Sound("a.wav", None, None, 8000),)),
        ({"audios": ["a.wav", {"path": "b.wav"}], "start": None}, (Sound("a.wav"), Sound("b.wav"))),
    ],
)
def test_sounds_are_read_by_their_usual_names(row: dict[str, Any], sounds: tuple[Sound, ...]) -> None:
    assert sounds_of(row) == sounds


def test_excerpts_of_several_sounds_are_refused() -> None:
    with pytest.raises(NotImportedError, match="an excerpt of several sounds"):
        sounds_of({"sound": ["a.wav", "b.wav"], "start": 1.0})


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("a.wav", "a.wav"),
        ("a:b.wav", "a:b.wav"),
        ("file:///a%20b.wav", "/a b.wav"),
        ({"url": {"url": "a.wav"}}, "a.wav"),
    ],
)
def test_a_sound_may_be_named_in_several_ways(named: Any, path: str) -> None:
    assert path_of(named) == path


def test_fields_nothing_is_known_of_are_kept() -> None:
    row = {"sound": "a.wav", "license": "CC0", "options": "a|b", "metadata": {"BPM": 125}, "year": 1900, "mood": None}
    record = record_of({"skipped": 1, **row}, (), (), frozenset({"skipped"}), source=None)
    assert record.extra == {"options": "a|b", "year": 1900}
    assert (record.licence, record.metadata, record.options, record.source) == ("CC0", {"BPM": 125}, (), None)
