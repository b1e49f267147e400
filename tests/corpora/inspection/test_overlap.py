import csv
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from music_flamingo.cli import main
from music_flamingo.corpora.inspection.benchmark_items import read_items
from music_flamingo.corpora.inspection.overlap import is_telling, text_keys
from music_flamingo.corpora.shar.build import shar_command
from music_flamingo.errors import UserError
from tests.corpora.inspection.broken_songs import conversation, cut_line, write_manifest
from tests.corpora.inspection.test_fingerprint import RATE, encoded, tune

LONG_QUESTION = "Which of the two voices that enter after the long pause is sung an octave higher?"
CAPTION = "A slow waltz for musette and double bass that turns into a march."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two songs to train on, one to test on."""
    folder = tmp_path / "corpus"
    (folder / "audio").mkdir(parents=True)
    said = [conversation("a"), conversation("a", "voices", question=LONG_QUESTION, answer="the second")]
    lines = []
    for number, (name, conversations) in enumerate({"song_a": said, "yt-3kX9_b": [conversation("b")]}.items()):
        soundfile.write(folder / "audio" / f"{number}.flac", tune(number, 8.0), RATE)
        lines.append(cut_line(name, f"audio/{number}.flac", 8 * RATE, conversations=conversations))
    write_manifest(folder, "train", lines)
    soundfile.write(folder / "audio" / "2.flac", tune(2, 8.0), RATE)
    write_manifest(folder, "test", [cut_line("test-0", "audio/2.flac", 8 * RATE)])
    return folder


def overlap(corpus: Path, *against: Path, options: tuple[str, ...] = ()) -> dict[str, Any]:
    words = ["data", "overlap", str(corpus), "--against", *map(str, against), "--workers", "1", *options]
    assert main(words) == 0
    report: dict[str, Any] = json.loads((corpus / "overlap.json").read_text())
    return report


def found(report: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(each["kind"], each["cut"], each["conversation"]) for each in report["findings"]]


@pytest.mark.parametrize("is_shar", [False, True])
def test_audio_is_found_in_another_corpus_whatever_its_name_and_format(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], is_shar: bool
) -> None:
    if is_shar:
        shar_command(str(corpus), tmp_path / "stored")
        corpus = tmp_path / "stored"
    benchmark = tmp_path / "benchmark"
    (benchmark / "clips").mkdir(parents=True)
    for number, samples in enumerate((tune(1, 8.0)[RATE * 3 :], tune(50, 8.0), tune(2, 8.0))):
        soundfile.write(benchmark / "clips" / f"x{number}.wav", *encoded(samples, RATE, format="OGG"))
    clips = [cut_line(f"x{number}", f"clips/x{number}.wav", 5 * RATE) for number in range(3)]
    write_manifest(benchmark, "test", clips)
    report = overlap(corpus, benchmark)
    assert found(report) == [("overlap_audio", "yt-3kX9_b", None)]  # song 2 is in the test split, which nothing learns
    assert report["findings"][0]["detail"].startswith(f"5 s from 3 s on sound like {benchmark}: x0, from 0 s on")
    assert report["songs_heard"] == 2
    assert not (corpus / "quarantine.jsonl").exists()
    assert "1 finding in 2 songs of training and validation" in capsys.readouterr().out


def test_ids_and_texts_are_found_in_tables_and_lists(tmp_path: Path, corpus: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("ytid", "caption"), ("YT-3kx9_B", "A song."), ("song_9", CAPTION)])
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "1", "question": f"{LONG_QUESTION}\n(A) one (B) two"}) + "\n")
    report = overlap(corpus, tmp_path / "a.csv", tmp_path / "b.jsonl", options=("--quarantine",))
    assert found(report) == [("overlap_text", "song_a", "a-voices"), ("overlap_id", "yt-3kX9_b", None)]
    assert report["against"][str(tmp_path / "a.csv")] == {"items": 2, "with_audio": 0}
    lines = [json.loads(line) for line in (corpus / "quarantine.jsonl").read_text().splitlines()]
    assert lines == [
        {"cut": "song_a", "conversation": "a-voices", "kind": "overlap_text"},
        {"cut": "yt-3kX9_b", "conversation": None, "kind": "overlap_id"},
    ]
    overlap(corpus, tmp_path / "a.csv", options=("--quarantine",))
    assert len((corpus / "quarantine.jsonl").read_text().splitlines()) == 1


def test_a_form_of_words_is_no_overlap(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps([{"id": str(n), "question": LONG_QUESTION} for n in range(4)]))
    assert found(overlap(corpus, tmp_path / "b.json")) == []


@pytest.mark.parametrize(
    "content",
    [
        [{"id": "one", "question": "Why?", "answer": "so"}],
        {"one": {"question": "Why?", "answer": "so"}},
        {"version": 2, "data": {"one": {"prompt": "Why?", "output": "so"}}},
        {"QA": [{"ytid": "one", "question": "Why?", "answer": "so"}]},
        [{"id": "one", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "so"}]}],
    ],
)
def test_the_forms_in_which_benchmarks_come(tmp_path: Path, content: Any) -> None:
    (tmp_path / "b.json").write_text(json.dumps(content))
    (item,) = read_items(tmp_path / "b.json")
    assert (item.name, item.ids, item.asked) == ("one", {"one"}, (("Why?", "so"),))


def test_audio_outside_a_benchmarks_folder_is_not_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", tune(0, 1.0), RATE)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.json").write_text(json.dumps([{"audio_path": "../secret.wav"}]))
    assert [item.audio for item in read_items(tmp_path / "b" / "b.json")] == [None]
    (item,) = read_items(tmp_path / "b" / "b.json", allow_outside=True)
    assert item.audio is not None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.json", "{", "b.json: expected json, got Expecting"),
        ("b.json", "[]", "b.json: expected items with an id, a text or audio, found none"),
        ("b.txt", "words", "b.txt: expected a corpus folder, .json, .jsonl or .csv: convert it"),
        ("none/b.csv", None, "b.csv: expected a corpus folder"),
    ],
)
def test_what_is_no_benchmark_is_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_items(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("blues.00042", True),
        ("bass_033-022-050", True),
        ("3kX9_bQ1aaa", True),
        ("clip-00012", False),
        ("1234567", False),
    ],
)
def test_a_counter_is_no_telling_id(name: str, tells: bool) -> None:
    assert is_telling(name) is tells


def test_short_texts_and_options_are_no_keys() -> None:
    assert text_keys("What is the tempo?", "fast") == []
    assert text_keys("What?\n(A) a slow one (B) a fast one", CAPTION.upper()) == [
        "a slow waltz for musette and double bass that turns into a march"
    ]
