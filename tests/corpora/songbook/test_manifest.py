import gzip
import json
from pathlib import Path

from music_flamingo.corpora.songbook.manifest import cut_json, write_json, write_jsonl


def test_a_cut_is_its_whole_recording() -> None:
    cut = cut_json("clip-1", "audio/train/clip-1.flac", 24000, {"kind": "clip"})
    assert (cut["start"], cut["duration"], cut["type"]) == (0, 1.5, "MonoCut")
    assert cut["recording"]["num_samples"] == 24000
    assert cut["recording"]["sources"][0]["source"] == "audio/train/clip-1.flac"
    assert cut["custom"] == {"kind": "clip"}


def test_manifests_of_equal_rows_are_equal_bytes_whatever_their_name(tmp_path: Path) -> None:
    rows = [{"id": "a", "title": "Séan"}, {"id": "b"}]
    write_jsonl(tmp_path / "one.jsonl.gz", rows)
    write_jsonl(tmp_path / "two.jsonl.gz", rows)
    content = (tmp_path / "one.jsonl.gz").read_bytes()
    assert content == (tmp_path / "two.jsonl.gz").read_bytes()
    # Bytes 4 to 8 of a gzip header are its time.
    assert content[4:8] == bytes(4)
    with gzip.open(tmp_path / "one.jsonl.gz", "rt", encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == rows


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"title": "Séan"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "title": "Séan"\n}\n'
