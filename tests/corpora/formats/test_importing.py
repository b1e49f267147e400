import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.cli import main
from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.corpora.cut_line import CONVERSATION_FIELDS, PLACEHOLDER
from music_flamingo.corpora.formats.importing import import_command
from music_flamingo.errors import UserError
from tests.corpora.formats.folders import (
    all_cuts,
    cuts_of,
    import_all,
    import_rows,
    left_out,
    record_of_import,
    row,
    write_rows,
    write_sounds,
)


def test_records_of_a_sound_meet_in_one_cut_wherever_they_stand(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(40)]
    write_sounds(tmp_path, *names, seconds=0.01)
    rows = [row(name, f"Question {number}?", id=f"{name}-{number}") for number in range(5) for name in names]
    random.Random(0).shuffle(rows)
    cuts = import_rows(tmp_path, *rows)
    assert sorted(cut.id for cut in cuts) == sorted(names)
    for cut in cuts:
        expected = [each["id"] for each in rows if each["sound"] == cut.id]
        assert [each["id"] for each in cut.custom["conversations"]] == expected


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    source = write_rows(tmp_path / "rows.jsonl", [row("b.wav"), row("a.wav"), row("b.wav", "More?"), row("c.wav")])
    for name in ("one", "two"):
        import_command("hf", source, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_every_conversation_holds_what_a_corpus_asks_for(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    (cut,) = import_rows(tmp_path, row(question="<sound>\nWhat?"), row(id=7))
    for conversation in cut.custom["conversations"]:
        assert all(isinstance(conversation[name], str) for name in CONVERSATION_FIELDS)
        assert not any(PLACEHOLDER in conversation[name] for name in CONVERSATION_FIELDS)


def test_a_corpus_is_read_with_the_paths_of_its_audio(tmp_path: Path) -> None:
    write_sounds(tmp_path, "corpus/a.wav", "b.wav")
    import_rows(tmp_path, row("corpus/a.wav"), row("b.wav"))
    plain = tmp_path / "corpus" / "cuts_train.jsonl"
    plain.with_suffix(".jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert {str(cut.recording.sources[0].source) for cut in read_cuts(tmp_path / "corpus", "train")} == {
        str(tmp_path / "corpus" / "a.wav"),
        str(tmp_path / "b.wav"),
    }


def test_excerpts_of_a_sound_are_cuts_of_their_own(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    cuts = import_rows(
        tmp_path,
        row(start=0.5, duration=0.25),
        row(question="Whole?", start=0.0, end=0.99),
        row(audio_start=0.5, end=0.75),
        row(start=0.75),
        row(start=0.8, duration=5),
        row(start=2.0),
        row(start=0.5, end=0.25),
        row(start=-1),
        row(start=0.2, duration=0),
    )
    assert [(cut.id, cut.start, cut.duration) for cut in cuts] == [
        ("a.wav#0.5-0.75", 0.5, 0.25),
        ("a.wav", 0.0, 1.0),
        ("a.wav#0.75-1", 0.75, 0.25),
        ("a.wav#0.8-1", 0.8, 0.2),
    ]
    assert len(cuts[0].custom["conversations"]) == 2
    assert left_out(tmp_path / "corpus") == {
        "an excerpt after the end of its audio": 1,
        "an excerpt without length": 2,
        "start is no time": 1,
    }
    changed = record_of_import(tmp_path / "corpus")["changed"]
    assert changed == {"excerpts shortened to the end of their audio": {"count": 1, "examples": ["rows.jsonl:5"]}}


def test_all_channels_of_a_stereo_file_are_heard(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", channels=2)
    (cut,) = import_rows(tmp_path, row())
    assert cut.channel == [0, 1]
    assert cut.load_audio().shape == (2, 8000)


def test_nothing_is_left_out_silently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sounds(tmp_path, "a.wav")
    (tmp_path / "bad.wav").write_text("no audio")
    halved = (
        '{"sound": "a.wav", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "n": 1}'
    )
    rows: list[Any] = [
        row(),
        row("missing.wav"),
        row("bad.wav"),
        row("../a.wav"),
        row(None),
        row({"bytes": "UklG", "path": None}),
        row("https://example.org/a.wav"),
        row(["a.wav", "missing.wav"]),
        row(answer=""),
        row(3),
        {"sound": "a.wav", "conversations": "text"},
        {"sound": "a.wav"},
        "text",
    ]
    write_rows(tmp_path / "rows.jsonl", [*rows, json.loads(halved)])
    import_command("hf", tmp_path / "rows.jsonl", tmp_path / "corpus", split="train")
    counts = {
        "audio missing": 2,
        "audio unreadable": 1,
        "audio outside the audio root": 1,
        "text only": 1,
        "audio embedded in the record": 1,
        "audio on the network": 1,
        "no answer": 1,
        "no sound file named": 1,
        "conversations that are no messages with from and value": 1,
        "messages that are no list": 1,
        "a record that is no object": 1,
    }
    assert left_out(tmp_path / "corpus") == counts
    assert record_of_import(tmp_path / "corpus")["imported"]["train"]["conversations"] == 2
    shown = capsys.readouterr().out
    assert "train: 2 conversations, 1 cuts of 1 songs" in shown
    assert f"left out {sum(counts.values())}: 2 audio missing (rows.jsonl:2)" in shown
    assert shown.splitlines()[-1].endswith(f"next: music-flamingo data check {tmp_path / 'corpus'}")


def test_what_json_cannot_hold_is_left_out(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    write_sounds(tmp_path, "a.wav")
    parquet.write_table(pyarrow.Table.from_pylist([row(n=None), row(n=b"1")]), tmp_path / "rows.parquet")
    assert len(import_all("hf", tmp_path / "rows.parquet", tmp_path / "corpus", tmp_path)) == 1
    assert left_out(tmp_path / "corpus") == {"a value that JSON cannot hold": 1}


def test_audio_elsewhere_is_read_where_it_is_allowed(tmp_path: Path) -> None:
    write_sounds(tmp_path, "elsewhere/a.wav")
    source = write_rows(tmp_path / "rows.jsonl", [row("../elsewhere/a.wav")])
    (cut,) = import_all("hf", source, tmp_path / "corpus", tmp_path / "root", allow_outside=True)
    assert cut.id == cut.recording.sources[0].source == str(tmp_path / "elsewhere" / "a.wav")


def test_audio_below_the_corpus_is_named_relative_to_it(tmp_path: Path) -> None:
    write_sounds(tmp_path, "corpus/audio/a.wav", "b.wav")
    below, beside = import_rows(tmp_path, row("corpus/audio/a.wav"), row("b.wav"))
    sources = {cut.id: cut.recording.sources[0].source for cut in (below, beside)}
    assert sources == {"corpus/audio/a.wav": "audio/a.wav", "b.wav": str(tmp_path / "b.wav")}


def test_no_song_is_in_two_splits(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = [f"{number}.wav" for number in range(60)]
    write_sounds(tmp_path, *names, seconds=0.01)
    rows = []
    for number in range(600):
        sounds = rng.sample(names, rng.choice((1, 1, 2)))
        told = {"piece": f"piece {names.index(sounds[0]) // 3}"} if rng.random() < 0.5 else {}
        told |= {"split": rng.choice(("train", "validation", "test"))} if rng.random() < 0.05 else {}
        rows.append(row(sounds[0] if len(sounds) == 1 else sounds, f"Question {number}?", **told))
    source = write_rows(tmp_path / "rows.jsonl", rows)
    import_command("hf", source, tmp_path / "corpus", val_share=0.3, test_share=0.3)
    heard, pieces = {}, {}
    for split, cuts in all_cuts(tmp_path / "corpus").items():
        sounds = [cut.custom[name] for cut in cuts for name in cut.custom if name.startswith("sound_")]
        heard[split] = {cut.recording.id for cut in cuts} | {sound.id for sound in sounds}
        pieces[split] = {cut.custom["piece"] for cut in cuts}
        assert cuts
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not heard[one] & heard[other]
        assert not pieces[one] & pieces[other]
    imported = sum(counts["conversations"] for counts in record_of_import(tmp_path / "corpus")["imported"].values())
    assert imported + sum(left_out(tmp_path / "corpus").values()) == len(rows)


def test_records_name_their_split_and_held_out_songs_are_not_trained(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav", "c.wav")
    rows = [row("a.wav", split="training"), row("b.wav", split="dev"), row("c.wav", split="test"), row("c.wav")]
    rows += [row("c.wav", split="train"), row("a.wav", split="unbalanced")]
    import_command("hf", write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "corpus")
    found = {
        split: [(cut.id, len(cut.custom["conversations"])) for cut in cuts]
        for split, cuts in all_cuts(tmp_path / "corpus").items()
    }
    assert found == {"train": [("a.wav", 2)], "val": [("b.wav", 1)], "test": [("c.wav", 2)]}
    assert left_out(tmp_path / "corpus") == {"a train record of a song in test": 1}
    assert record_of_import(tmp_path / "corpus")["changed"].keys() == {
        "split 'unbalanced' is none of train, val, test: drawn"
    }


def test_a_sound_belongs_to_one_piece(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    (cut,) = import_rows(tmp_path, row(), row(piece="one"), row(piece="two"))
    assert (cut.custom["piece"], len(cut.custom["conversations"])) == ("one", 2)
    assert left_out(tmp_path / "corpus") == {"its sound belongs to another piece": 1}


def test_trusted_durations_open_no_file(tmp_path: Path) -> None:
    told = {"duration": 2.5, "sampling_rate": 44100}
    rows = [row("a.wav", **told), row("b.wav", duration=2.5), row("c.wav", duration=1e-9, sampling_rate=8000)]
    cuts = import_rows(tmp_path, *rows, trust_durations=True)
    assert [(cut.id, cut.duration, cut.recording.num_samples) for cut in cuts] == [("a.wav", 2.5, 110250)]
    assert left_out(tmp_path / "corpus") == {"audio missing": 2}
    assert record_of_import(tmp_path / "corpus")["headers"] == {"read": 2, "trusted": 1}


def test_fields_of_the_cut_are_given_by_the_first_record_that_tells_them(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    (cut,) = import_rows(tmp_path, row(custom={"difficulty": 1}), row(custom={"difficulty": 2, "year": 1900}))
    assert (cut.custom["difficulty"], cut.custom["year"]) == (1, 1900)
    assert (
        "custom.difficulty differs within a sound: the first counts" in record_of_import(tmp_path / "corpus")["changed"]
    )


def test_files_of_a_folder_are_read_in_order(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    (tmp_path / "rows").mkdir()
    for name in ("b.jsonl", "a.json", "notes.txt"):
        write_rows(tmp_path / "rows" / name, [row(id=name)])
    (cut,) = import_all("hf", tmp_path / "rows", tmp_path / "corpus", tmp_path)
    assert [(each["id"], each.get("source")) for each in cut.custom["conversations"]] == [
        ("a.json", None),
        ("b.jsonl", "b"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "af4"}, "format: expected one of hf, af3, af2, tinymu, chat, csv, got 'af4'"),
        (
            {"format": "tinymu"},
            "rows.jsonl:1: expected records with file_name, input_text and target_text, got the fields",
        ),
        ({"split": "dev"}, "split: expected one of train, val, test, got 'dev'"),
        ({"task": "quiz"}, "task: expected one of qa, caption, got 'quiz'"),
        ({"val_share": 0.6, "test_share": 0.6}, "expected shares of one whole, got 0.6 and 0.6"),
        ({"src": Path("nowhere")}, "nowhere: expected a file, or a folder with"),
        ({"audio_root": Path("nowhere")}, "expected something to import, left out 1: 1 audio missing (rows.jsonl:1)"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_sounds(tmp_path, "a.wav")
    told = {"format": "hf", "src": write_rows(tmp_path / "rows.jsonl", [row()]), "out": tmp_path / "corpus"} | options
    with pytest.raises(UserError, match=re.escape(message)):
        import_command(**told)
    assert not (tmp_path / "corpus").exists()


def test_a_malformed_line_stops_and_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    write_sounds(tmp_path, "corpus/a.wav")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row("corpus/a.wav")) + "\n{\n")
    with pytest.raises(UserError, match=r"rows.jsonl:2: expected one JSON object a line"):
        import_command("hf", tmp_path / "rows.jsonl", tmp_path / "corpus")
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["a.wav"]


@pytest.mark.parametrize("name", ["cuts_train.jsonl", "cuts_val.jsonl.gz"])
def test_a_corpus_is_never_overwritten(tmp_path: Path, name: str) -> None:
    write_sounds(tmp_path, "a.wav")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / name).touch()
    with pytest.raises(UserError, match=f"expected a folder without a corpus, got {name}: remove it"):
        import_rows(tmp_path, row())


def test_an_audio_flamingo_2_manifest_without_its_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"split": "train", "data": {}}')
    with pytest.raises(UserError, match=r"train.json: expected the field split_path of an Audio Flamingo 2 manifest"):
        import_command("af2", tmp_path / "train.json", tmp_path / "corpus")


def test_the_command_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sounds(tmp_path, "audio/a.wav")
    source = write_rows(tmp_path / "rows.jsonl", [row()])
    words = ["data", "import", "hf", str(source), "--out", str(tmp_path / "corpus"), "--split", "train"]
    assert main([*words, "--audio-root", str(tmp_path / "audio")]) == 0
    assert "left out nothing" in capsys.readouterr().out
    assert [cut.id for cut in cuts_of(tmp_path / "corpus")] == ["a.wav"]
