import json
from pathlib import Path

from music_flamingo.ledger_file import append_line, read_rows, read_starts


def start(number: int, after: int) -> dict[str, int]:
    return {"start": number, "begins_after_row": after}


def row(number: int, start: int, *songs: str) -> dict[str, object]:
    return {"start": start, "row": number, "visits": [[song, 0, 0] for song in songs], "skipped": 0}


def songs(folder: Path) -> list[str]:
    return sorted(visit[0] for line in read_rows(folder) for visit in line["visits"])


def test_rows_that_a_later_start_trains_again_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rank0.jsonl"
    for line in (
        *(start(0, 0), row(1, 0, "a"), row(2, 0, "b"), row(3, 0, "c")),
        *(start(1, 1), row(2, 1, "b"), row(3, 1, "c")),
        *(start(2, 3), row(4, 2, "d")),
    ):
        append_line(path, line)
    assert songs(tmp_path) == ["a", "b", "c", "d"]
    assert [line["begins_after_row"] for line in read_starts(tmp_path)] == [0, 1, 3]


def test_a_start_with_fewer_ranks_voids_rows_of_those_that_are_gone(tmp_path: Path) -> None:
    for line in (start(0, 0), row(1, 0, "a"), row(2, 0, "b"), start(1, 1), row(2, 1, "c"), row(3, 1, "b")):
        append_line(tmp_path / "rank0.jsonl", line)
    for line in (row(1, 0, "d"), row(2, 0, "c")):
        append_line(tmp_path / "rank1.jsonl", line)
    assert songs(tmp_path) == ["a", "b", "c", "d"]


def test_half_a_line_is_ended_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rank0.jsonl"
    append_line(path, start(0, 0))
    path.write_bytes(path.read_bytes() + json.dumps(row(1, 0, "a")).encode()[:20])
    append_line(path, start(1, 0))
    append_line(path, row(1, 1, "a"))
    assert songs(tmp_path) == ["a"]
    assert len(read_starts(tmp_path)) == 2
