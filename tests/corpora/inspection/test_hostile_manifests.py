"""Manifests of which anything may be anything: a check goes through to the end, and opens nothing outside."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from music_flamingo.corpora.inspection.check import check_corpus
from music_flamingo.corpora.inspection.song_checks import SongLimits
from tests.corpora.inspection.broken_songs import conversation, cut_line, write_clean_corpus, write_manifest

NUM_LINES = 400
VALUES = (
    *(None, True, 0, -1, 1e308, -1e9, 10**30, float("nan"), float("inf"), -0.5, 3.7),
    *("", "x", "1", "\0", "../x", "/dev/zero", "/etc/passwd", "é" * 10, "\ud800", "<script>alert(1)</script>"),
    *([], {}, [None], [[1]], {"a": 1}, "command", "url"),
)


def places(value: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*before, key)
        yield from places(inner, (*before, key))


def mutated(rng: random.Random) -> str:
    """A good line with one or two of its values replaced or taken out, and now and then a character."""
    cut: Any = cut_line("a", "audio/train-0.wav", conversations=[conversation("a", options=["fast tempo", "slow"])])
    for _ in range(rng.choice((1, 1, 2))):
        *path, last = rng.choice(list(places(cut)))
        inner = cut
        for key in path:
            inner = inner[key]
        if rng.random() < 0.2:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(rng.choice(VALUES))
    line = json.dumps(cut)
    place = rng.randrange(len(line))
    return line if rng.random() > 0.05 else f"{line[:place]}{chr(rng.randrange(32, 256))}{line[place + 1 :]}"


def test_no_manifest_stops_a_check(tmp_path: Path) -> None:
    rng = random.Random(0)
    write_clean_corpus(tmp_path, train=1)
    write_manifest(tmp_path, "train", [mutated(rng) for _ in range(NUM_LINES)] + ["[" * 50_000])
    report = check_corpus(tmp_path, SongLimits(), 2, 20.0)
    read = json.loads((tmp_path / "check" / "findings.json").read_text(encoding="utf-8"))
    assert read["by_kind"] == report["by_kind"]
    assert {"bad_line", "outside_root", "not_a_file", "bad_conversation", "missing"} <= set(report["by_kind"])
    assert "<script>alert" not in (tmp_path / "check" / "report.html").read_text(encoding="utf-8")
    assert not {each["kind"] for each in report["findings"]} & {"timeout"}
