import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.corpora.conversations import iterate_captions, iterate_texts, read_cuts, read_vocabulary
from music_flamingo.errors import UserError
from tests.builders import write_corpus


def manifest(folder: Path, text: str) -> Path:
    path = folder / "cuts_train.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_cuts_are_read_with_paths_below_the_corpus(tmp_path: Path) -> None:
    cuts = list(read_cuts(write_corpus(tmp_path, train=2), "train"))
    assert [cut.id for cut in cuts] == ["train-0", "train-1"]
    assert cuts[0].recording.sources[0].source == str(tmp_path / "audio" / "train-0.flac")
    texts = list(iterate_texts(tmp_path))
    assert texts[0].startswith("at 0 s the flute begins . at 4 s the violin joins last .")
    asked = cuts[0].custom["conversations"][0]
    assert texts[1] == f"{asked['question']} {asked['answer']}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", ', "cuts_train.jsonl.gz:1: expected a cut as JSON"),
        ('{"id": "a"}\n', "cuts_train.jsonl.gz:1: expected a lhotse cut"),
        ("[1, 2]\n", "cuts_train.jsonl.gz:1: expected a lhotse cut"),
    ],
)
def test_a_line_that_is_no_cut_is_named(tmp_path: Path, text: str, message: str) -> None:
    manifest(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_cuts(tmp_path, "train")


def test_a_cut_without_conversations_is_named(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=1)
    line = json.loads(gzip.decompress((tmp_path / "cuts_train.jsonl.gz").read_bytes()))
    del line["custom"]["conversations"]
    manifest(tmp_path, json.dumps(line))
    with pytest.raises(UserError, match=r":1: expected a cut with custom.conversations"):
        read_cuts(tmp_path, "train")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (None, r":1: custom.conversations\[0\].question: expected text, got None"),
        ("What is <sound>?", r":1: custom.conversations\[0\].question: expected words, got <sound>"),
    ],
)
def test_a_conversation_that_cannot_be_asked_is_named(tmp_path: Path, question: str | None, message: str) -> None:
    write_corpus(tmp_path, train=1)
    line = json.loads(gzip.decompress((tmp_path / "cuts_train.jsonl.gz").read_bytes()))
    line["custom"]["conversations"][0]["question"] = question
    manifest(tmp_path, json.dumps(line))
    with pytest.raises(UserError, match=message):
        read_cuts(tmp_path, "train")


@pytest.mark.parametrize("captions", [[{"negatives": []}], ["a flute"], "a flute", [{"text": "a flute"}]])
def test_captions_that_cannot_be_read_are_named(tmp_path: Path, captions: Any) -> None:
    write_corpus(tmp_path, train=1)
    line = json.loads(gzip.decompress((tmp_path / "cuts_train.jsonl.gz").read_bytes()))
    line["custom"]["captions"] = captions
    manifest(tmp_path, json.dumps(line))
    with pytest.raises(UserError, match=r"^cut train-0: custom\.captions: expected captions with `text` and `neg"):
        list(iterate_captions(tmp_path))


def test_a_file_that_is_not_compressed_is_named(tmp_path: Path) -> None:
    (tmp_path / "cuts_train.jsonl.gz").write_text("{}")
    with pytest.raises(UserError, match=r"cuts_train.jsonl.gz: expected gzip-compressed JSON lines"):
        read_cuts(tmp_path, "train")


def test_a_vocabulary_is_optional_but_must_be_json(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path) is None
    (tmp_path / "vocabulary.json").write_text("{")
    with pytest.raises(UserError, match=r"vocabulary.json:1: expected JSON"):
        read_vocabulary(tmp_path)
