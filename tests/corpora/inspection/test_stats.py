import json
from pathlib import Path

import pytest

from music_flamingo.cli import main
from music_flamingo.corpora.inspection.stats import corpus_stats
from music_flamingo.corpora.inspection.token_counts import TokenCounter
from tests.builders import chat, model_directory
from tests.corpora.inspection.broken_songs import conversation, cut_line, write_clean_corpus, write_manifest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three songs of 0.5 s and one of 10 s, of two sources, and a line that is no cut."""
    write_clean_corpus(tmp_path, train=1)
    said = [conversation("long", "tempo"), conversation("long", "mode", answer="minor", task="caption")]
    custom = {"source": "vinyl", "licence": "mine"}
    long = cut_line("long", "audio/long.wav", 160_000, conversations=said, custom=custom)
    write_manifest(tmp_path, "train", [cut_line("train-0", "audio/train-0.wav"), "{", long])
    return tmp_path


def test_songs_and_conversations_are_counted_by_split_and_kind(corpus: Path) -> None:
    stats = corpus_stats(corpus, None)
    assert stats["lines_without_a_song"] == 1
    assert {split: (found["songs"], found["conversations"]) for split, found in stats["splits"].items()} == {
        "train": (2, 3),
        "val": (1, 1),
        "test": (1, 1),
        "all": (4, 5),
    }
    assert stats["splits"]["all"]["seconds"] == {
        **{"n": 4, "sum": 11.5, "min": 0.5, "median": 0.5, "p95": 10.0, "max": 10.0}
    }
    assert stats["groups"]["source"]["vinyl"] == {"train": 1, "val": 0, "test": 0, "all": 1, "hours": 0.003}
    assert stats["groups"]["task"]["qa"]["all"] == 4
    assert stats["groups"]["question_name"]["mode"]["all"] == 1
    assert stats["answers"]["tempo"] == {"n": 4, "different": 1, "most_frequent": {"fast tempo": 4}}
    assert stats["tokens"] == {}


def test_tokens_are_those_that_the_model_reads(corpus: Path) -> None:
    stats = corpus_stats(corpus, TokenCounter(model_directory()))
    question = len(chat().question_ids("What is the mode?"))
    assert stats["splits"]["train"]["tokens"]["question"]["n"] == 3
    assert min(question, stats["tokens"]["question"]["min"]) == stats["tokens"]["question"]["min"]
    assert stats["tokens"]["answer"]["sum"] == 4 * len(chat().answer_ids("fast tempo")) + len(
        chat().answer_ids("minor")
    )
    # 25 a second; of half a second, 50 mel frames are 25 after the convolution and 12 after pooling.
    assert stats["tokens"]["audio"]["max"] == 250
    assert stats["tokens"]["audio"]["min"] == 12


def test_the_command_writes_a_page_and_prints_tables(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(corpus)]) == 0
    shown = capsys.readouterr().out
    assert "vinyl" in shown
    assert "1 lines are no cut" in shown
    assert json.loads((corpus / "stats.json").read_text())["splits"]["all"]["songs"] == 4
    page = (corpus / "stats.html").read_text()
    assert "vinyl" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_directory_without_a_processor_is_named(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(corpus), "--processor", str(corpus)]) == 2
    assert "expected a model directory with a model configuration" in capsys.readouterr().err
