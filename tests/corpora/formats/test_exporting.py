import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.corpora.formats.exporting import export_command
from music_flamingo.corpora.formats.importing import import_command
from music_flamingo.corpora.formats.song_splits import SPLITS
from music_flamingo.errors import UserError
from tests.builders import write_corpus
from tests.corpora.formats.folders import GOLDEN, all_cuts, cuts_of, import_rows, row, write_rows, write_sounds

SAMPLES = {
    "hf": "music_flamingo.json",
    "af3": "audio_flamingo_3.json",
    "af2": "MusicSet-AQA",
    "tinymu": "music_skills.json",
    "chat": "chat_messages.jsonl",
    "csv": "table.csv",
}


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("through", ["hf", "af3"])
@pytest.mark.parametrize("format", list(SAMPLES))
def test_what_is_exported_and_imported_again_is_the_same(tmp_path: Path, format: str, through: str) -> None:
    root = write_sounds(tmp_path / "audio", "a.wav", "b.wav", "c.wav", "songs/a.wav", "clips/a.wav")
    import_command(format, GOLDEN / SAMPLES[format], tmp_path / "one", audio_root=root, val_share=0.3, test_share=0.3)
    export_command(tmp_path / "one", tmp_path / "file.json", format=through)
    import_command(through, tmp_path / "file.json", tmp_path / "two", audio_root=root)
    assert all_cuts(tmp_path / "one") == all_cuts(tmp_path / "two")
    for split in SPLITS:
        name = f"cuts_{split}.jsonl"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_normal_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    rows = [
        row("a.wav", "<sound>\nWhat?", "A flute.", id="x1", start=0.25, duration=0.5, task="qa", rationale=["bar 1"]),
        row("b.wav", "<sound>\nMood?", "<think>Slow.</think> So: <answer>sad</answer>", id="x2", system="You know."),
        row(["b.wav", "a.wav"], "<sound-1> or <sound-2>?", "The first.", id="x3", licence="CC0"),
    ]
    rows[1]["conversations"] += [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]
    import_rows(tmp_path, *rows)
    export_command(tmp_path / "corpus", tmp_path / "out.jsonl")
    back = {each["id"]: each for each in exported(tmp_path / "out.jsonl")}
    for original in rows:
        assert original.items() <= back[original["id"]].items()


def test_a_corpus_made_otherwise_comes_back_with_its_truths(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "made", train=2)
    export_command(corpus, tmp_path / "out.jsonl")
    import_command("hf", tmp_path / "out.jsonl", tmp_path / "corpus", audio_root=corpus)
    originals = read_cuts(corpus, "train")
    for cut, original in zip(sorted(cuts_of(tmp_path / "corpus"), key=lambda cut: cut.id), originals, strict=True):
        assert cut.recording.num_samples == original.recording.num_samples
        said = [each | {"answer_from": each.get("answer_from")} for each in cut.custom["conversations"]]
        custom = cut.custom | {"conversations": said}
        assert {name: custom[name] for name in original.custom} == original.custom


def test_one_split_can_be_exported(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    source = write_rows(tmp_path / "rows.jsonl", [row("a.wav", split="train"), row("b.wav", split="test")])
    import_command("hf", source, tmp_path / "corpus")
    export_command(tmp_path / "corpus", tmp_path / "out.jsonl", split="test")
    assert [(each["sound"], each["split"]) for each in exported(tmp_path / "out.jsonl")] == [("b.wav", "test")]
    export_command(tmp_path / "corpus", tmp_path / "none.json", format="af3", split="val")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_a_corpus_made_otherwise_is_exported_with_paths_below_it(tmp_path: Path) -> None:
    write_sounds(tmp_path, "corpus/audio/a.wav")
    import_rows(tmp_path, row("corpus/audio/a.wav"))
    corpus = tmp_path / "corpus"
    (corpus / "import.json").unlink()
    for split in SPLITS:
        plain = corpus / f"cuts_{split}.jsonl"
        (corpus / f"cuts_{split}.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    export_command(corpus, tmp_path / "out.jsonl")
    assert [each["sound"] for each in exported(tmp_path / "out.jsonl")] == ["audio/a.wav"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "af2"}, "format: expected one of hf, af3, got 'af2'"),
        ({"split": "dev"}, "split: expected one of train, val, test, got 'dev'"),
        ({"corpus": Path("nowhere")}, "expected the train cuts in nowhere/cuts_train.jsonl, which does not exist"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_sounds(tmp_path, "a.wav")
    import_rows(tmp_path, row())
    with pytest.raises(UserError, match=re.escape(message)):
        export_command(**({"corpus": tmp_path / "corpus", "out": tmp_path / "out.jsonl"} | options))


def test_a_line_that_is_no_cut_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    import_rows(tmp_path, row())
    (tmp_path / "corpus" / "cuts_val.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(UserError, match=r"corpus/cuts_val.jsonl:1: expected a cut of one recording with conversations"):
        export_command(tmp_path / "corpus", tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_a_broken_record_of_the_import_is_named(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav")
    import_rows(tmp_path, row())
    (tmp_path / "corpus" / "import.json").write_text("{")
    with pytest.raises(UserError, match=r"import.json: expected the record of an import with audio_root"):
        export_command(tmp_path / "corpus", tmp_path / "out.jsonl")
