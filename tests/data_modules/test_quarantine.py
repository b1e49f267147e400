import json
import re
from pathlib import Path

import pytest

from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.corpora.songs import open_songs
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.data_modules.quarantine import SongsWithoutQuarantine, quarantine_line
from music_flamingo.errors import UserError
from tests.builders import model_directory, write_corpus

SPLITS = ("train", "val", "test")


def quarantine(corpus: Path, *lines: tuple[str, str | None]) -> None:
    records = [{"cut": cut, "conversation": conversation, "kind": "silent"} for cut, conversation in lines]
    (corpus / "quarantine.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path, train=3, held_out=2)


def test_songs_and_conversations_in_quarantine_are_left_out_of_every_split(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {split: {cut.id: cut for cut in read_cuts(corpus, split)} for split in SPLITS}
    first, second, *_ = (each["id"] for each in whole["train"]["train-1"].custom["conversations"])
    quarantine(corpus, ("train-0", None), ("test-1", None), ("train-1", first), ("train-1", second), ("test-1", "x"))
    data = ConversationDataModule(str(corpus), str(model_directory()), DirectAnswers())
    data.setup("fit")
    said = f"left out: 2 songs and 2 conversations in quarantine ({corpus / 'quarantine.jsonl'})\n"
    assert capsys.readouterr().out == said
    rows = list(data.train_dataloader())
    trained = {row.examples[root]["cut"]: row.examples[root]["custom"] for row in rows for root in row.tree.roots()}
    assert sorted(trained) == ["train-1", "train-2"]
    assert rows[-1].origin.state.skipped == 1
    kept = [each["id"] for each in trained["train-1"]["conversations"]]
    assert kept == [each["id"] for each in whole["train"]["train-1"].custom["conversations"]][2:]
    assert trained["train-2"]["conversations"] == whole["train"]["train-2"].custom["conversations"]
    assert {split: [cut.id for cut in cuts] for split, cuts in data.cuts.items()} == {
        "val": ["val-0", "val-1"],
        "test": ["test-0"],
    }


def test_a_song_of_which_nothing_may_be_asked_is_left_out(corpus: Path) -> None:
    (cut, *_) = read_cuts(corpus, "train")
    quarantine(corpus, *((cut.id, each["id"]) for each in cut.custom["conversations"]))
    songs = SongsWithoutQuarantine(open_songs(corpus, "train"), str(corpus))
    assert [len(each.custom["conversations"]) > 0 for each in songs] == [False, True, True]


def test_without_a_quarantine_nothing_changes_and_nothing_is_said(corpus: Path) -> None:
    songs = SongsWithoutQuarantine(open_songs(corpus, "train"), str(corpus))
    assert list(songs) == list(read_cuts(corpus, "train"))
    assert quarantine_line(songs, str(corpus)) is None


@pytest.mark.parametrize(
    ("line", "message"), [("{", "expected JSON"), ('{"song": "a"}', 'expected {"cut": "id", ...}')]
)
def test_a_line_that_names_no_song_is_named(corpus: Path, line: str, message: str) -> None:
    (corpus / "quarantine.jsonl").write_text(f"{line}\n")
    with pytest.raises(UserError, match=re.escape(f"quarantine.jsonl:1: {message}")):
        SongsWithoutQuarantine(open_songs(corpus, "train"), str(corpus))
