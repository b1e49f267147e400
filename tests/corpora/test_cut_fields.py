import json
from typing import Any

import pytest

from music_flamingo.corpora.cut_line import parse_cut
from music_flamingo.errors import UserError
from tests.corpora.inspection.broken_songs import cut_line


def line(path: tuple[str | int, ...], value: Any) -> str:
    cut: Any = cut_line("a", "audio/a.wav")
    inner = cut
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(cut)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("id",), 7, "id: expected text, got 7"),
        (("id",), "\ud800", r"id: expected text, got '\\ud800'"),
        (("start",), None, "start: expected seconds, got None"),
        (("duration",), float("nan"), "duration: expected seconds, got nan"),
        (("custom", "conversations"), 3.0, "custom.conversations: expected a list, got 3.0"),
        (("recording", "sampling_rate"), 0, "recording.sampling_rate: expected a positive whole number, got 0"),
        (("recording", "num_samples"), "many", "recording.num_samples: expected a whole number, got 'many'"),
        (("recording", "duration"), float("inf"), "recording.duration: expected seconds, got inf"),
        (("recording", "sources", 0, "source"), ["a"], r"recording.sources.source: expected a path, got \['a'\]"),
        (("recording", "sources", 0, "type"), None, "recording.sources.type: expected text, got None"),
        (
            ("recording", "sources", 0, "channels"),
            ["left"],
            "recording.sources.channels: expected a list of whole numbers",
        ),
    ],
)
def test_a_field_that_cannot_be_right_is_named(path: tuple[str | int, ...], value: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"m:1: {message}"):
        parse_cut(line(path, value), "m:1")


def test_a_line_too_deep_to_read_is_named() -> None:
    with pytest.raises(UserError, match="m:1: expected a lhotse cut, got RecursionError"):
        parse_cut("[" * 200_000, "m:1")


def test_other_fields_may_hold_anything() -> None:
    assert parse_cut(line(("custom", "truth"), [None, {"a": float("nan")}]), "m:1").id == "a"
