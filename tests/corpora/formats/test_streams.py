import gzip
import json
import re
from pathlib import Path

import pytest

from music_flamingo.corpora.formats.streams import csv_rows, json_rows, parquet_rows, table_rows
from music_flamingo.errors import UserError

ROWS = [{"a": 1.5, "b": ["x"]}, {"a": None}, "text"]


@pytest.mark.parametrize(
    "text", [json.dumps(ROWS), json.dumps(ROWS, indent=1), "\n".join(map(json.dumps, ROWS)) + "\n\n"]
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_array_and_json_lines_give_the_same_rows(tmp_path: Path, text: str, suffix: str, mark: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    content = mark + text.encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert list(json_rows(path)) == [(f"rows{suffix}:{number}", row) for number, row in enumerate(ROWS, 1)]


def test_an_array_is_read_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[" + ",".join(json.dumps({"n": number, "text": "x" * 100}) for number in range(5000)) + ", oops")
    rows = json_rows(path)
    assert next(rows) == ("rows.json:1", {"n": 0, "text": "x" * 100})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '[{"a": 1}, {"a": 2,}]',
            r"a.json: expected JSON, got parse error: .* after record 1, not beyond byte 21",
        ),
        ("a.json", '[{"a": 1}', r"a.json: expected JSON, got parse error: premature EOF after record 1"),
        (
            "a.jsonl",
            '{"a": 1}\n{"a": \n',
            r"a.jsonl:2: expected one JSON object a line, or one array, got .*: mend the line",
        ),
        ("a.jsonl.gz", "no gzip", r"a.jsonl.gz:?\d*: expected .*"),
    ],
)
def test_malformed_json_is_one_line_with_file_and_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        list(json_rows(path))
    assert "\n" not in str(raised.value)


def test_parquet_gives_rows_as_json_does(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"id": "x", "conversations": [{"from": "human", "value": "q"}]}, {"id": "y", "conversations": []}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert list(table_rows(tmp_path / "a.parquet")) == [("a.parquet:1", rows[0]), ("a.parquet:2", rows[1])]
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"b.parquet: expected a Parquet file, got"):
        list(parquet_rows(tmp_path / "b.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=re.escape("pip install 'music-flamingo[data]'")):
        list(parquet_rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,answer\na.wav,yes,no\n", "a.csv:2: expected 2 cells, got more"),
        (b"path\n\xff\n", "a.csv: expected CSV in UTF-8, got"),
        (b'path\n"a"b\n', "a.csv: expected CSV in UTF-8, got"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(csv_rows(tmp_path / "a.csv"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.json: expected a readable file, got No such file"):
        list(json_rows(tmp_path / "a.json"))
