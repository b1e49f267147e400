import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import CutSet

from music_flamingo.corpora.songbook import build, observations
from music_flamingo.corpora.songbook.build import build_songbook, songbook_command
from music_flamingo.corpora.songbook.settings import SongbookSettings
from music_flamingo.corpora.songbook.vocabulary import songbook_vocabulary
from music_flamingo.errors import UserError

from .pieces import catalogue_of_pieces

FIELDS = {
    "piece",
    "tradition",
    "source",
    "licence",
    "kind",
    "difficulty",
    "truth",
    "metadata",
    "observations",
    "conversations",
}
READ_PIECES = build._read_pieces
SETTINGS = SongbookSettings(clips=60, clip_seconds=6.0, full_pieces=1, full_seconds=(60, 60), workers=1)


@pytest.fixture(scope="module")
def patch() -> Any:
    """Pieces written by hand instead of parsed scores, in this process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(build, "_read_pieces", lambda *_: catalogue_of_pieces())
        yield monkeypatch


@pytest.fixture(scope="module")
def corpus(patch: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("songbook") / "nested" / "corpus"
    build_songbook(out, SETTINGS)
    return out


@pytest.fixture(scope="module")
def cuts(corpus: Path) -> dict[str, CutSet]:
    splits = ("train", "val", "test")
    return {
        split: CutSet.from_file(corpus / f"cuts_{split}.jsonl.gz").with_recording_path_prefix(corpus)
        for split in splits
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_lhotse_reads_the_manifests_and_the_audio(cuts: dict[str, CutSet]) -> None:
    assert [len(list(cuts[split])) for split in ("train", "val", "test")] == [51, 4, 6]
    for cut in cuts["test"]:
        samples = cut.load_audio()
        assert samples.shape == (1, cut.num_samples)
        assert cut.sampling_rate == 16000
        assert np.abs(samples).max() > 0.01


def test_paths_in_manifests_are_relative_to_the_folder(corpus: Path) -> None:
    with gzip.open(corpus / "cuts_train.jsonl.gz", "rt", encoding="utf-8") as file:
        sources = [json.loads(line)["recording"]["sources"][0]["source"] for line in file]
    assert sources[0] == "audio/train/clip-00000.flac"
    assert all((corpus / source).is_file() for source in sources)
    assert len(list((corpus / "audio").rglob("*.flac"))) == 61


def test_a_cut_carries_what_is_known_of_it(cuts: dict[str, CutSet]) -> None:
    for split in cuts.values():
        for cut in split:
            assert set(cut.custom) == FIELDS
            assert cut.custom["source"].startswith("music21 corpus ")
            assert cut.custom["observations"] == observations.observe(cut.custom["truth"])
            assert cut.custom["conversations"][0]["id"].startswith(cut.id)


def test_clips_and_full_pieces_are_told_apart(cuts: dict[str, CutSet]) -> None:
    kinds = [(cut.custom["kind"], cut.duration) for split in cuts.values() for cut in split]
    assert sorted(set(kinds)) == [("clip", 6.0), ("full", 60.0)]
    assert kinds.count(("full", 60.0)) == 1


def test_no_piece_is_in_two_splits(cuts: dict[str, CutSet]) -> None:
    pieces = [{cut.custom["piece"] for cut in split} for split in cuts.values()]
    assert sum(len(names) for names in pieces) == len(set.union(*pieces))


def test_a_pause_is_a_second_of_silence_at_its_time_and_nowhere_else(cuts: dict[str, CutSet]) -> None:
    clips = [cut for split in cuts.values() for cut in split if cut.custom["kind"] == "clip"]
    for cut in clips:
        truth = cut.custom["truth"]
        silent = np.abs(cut.load_audio()[0]).reshape(-1, 800).max(axis=1) < 1e-3
        runs = [run for run in "".join("s" if frame else "." for frame in silent).split(".") if len(run) >= 17]
        assert len(runs) == (truth["change"] == "pause")
        if runs:
            first = int(np.ceil(truth["change_time"] * 20)) + 1
            assert silent[first : first + 17].all()


def test_louder_and_softer_are_heard_in_the_envelope(cuts: dict[str, CutSet]) -> None:
    for split in cuts.values():
        for cut in split:
            truth = cut.custom["truth"]
            if truth["change"] not in ("louder", "softer") or truth["texture"] != "solo":
                continue
            at = round(truth["change_time"] * 16000)
            samples = cut.load_audio()[0]
            before, after = (float(np.sqrt(np.mean(part**2))) for part in (samples[:at], samples[at:]))
            assert (after > 1.2 * before) if truth["change"] == "louder" else (after < before / 1.2)


def test_drums_are_heard_between_the_notes(cuts: dict[str, CutSet]) -> None:
    def treble(cut: Any) -> float:
        spectrum = np.abs(np.fft.rfft(cut.load_audio()[0])) ** 2
        return float(spectrum[len(spectrum) * 3 // 4 :].sum() / spectrum.sum())

    clips = [cut for split in cuts.values() for cut in split if cut.custom["kind"] == "clip"]
    with_drums = [treble(cut) for cut in clips if cut.custom["truth"]["drums"]]
    without = [treble(cut) for cut in clips if not cut.custom["truth"]["drums"]]
    assert np.median(with_drums) > 10 * np.median(without)


def test_counts_vocabulary_and_leaks_lie_beside_the_cuts(corpus: Path) -> None:
    record = json.loads((corpus / "corpus.json").read_text())
    assert record["counts"]["splits"]["train"] == {"cuts": 51, "full_pieces": 1, "pieces": 38, "hours": 0.1}
    assert record["counts"]["pieces"] == {"fiddle tune": 80, "chorale": 16}
    assert (record["version"], record["seed"], record["settings"]["clips"]) == (5, 0, 60)
    assert "workers" not in record["settings"]
    assert json.loads((corpus / "vocabulary.json").read_text()) == songbook_vocabulary()
    assert {"instrument", "texture"} <= {row["question"] for row in json.loads((corpus / "leaks.json").read_text())}


def test_two_workers_write_the_same_bytes_as_one(patch: Any, corpus: Path, tmp_path: Path) -> None:
    settings = SongbookSettings(clips=60, clip_seconds=6.0, full_pieces=1, full_seconds=(60, 60), workers=2)
    build_songbook(tmp_path / "again", settings)
    assert contents(tmp_path / "again") == contents(corpus)


def test_another_seed_makes_another_corpus(patch: Any, corpus: Path, tmp_path: Path) -> None:
    build_songbook(tmp_path / "other", SongbookSettings(clips=20, full_pieces=0, workers=1, seed=1))
    build_songbook(tmp_path / "same", SongbookSettings(clips=20, full_pieces=0, workers=1, seed=2))
    one, two = contents(tmp_path / "other"), contents(tmp_path / "same")
    assert one.keys() != two.keys() or one != two


def test_a_corpus_that_is_there_is_not_made_again(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_read_pieces", None)
    build_songbook(corpus, SETTINGS)
    assert capsys.readouterr().out == f"{corpus} holds this songbook already, nothing to do\n"


def test_another_corpus_is_not_overwritten(corpus: Path) -> None:
    with pytest.raises(UserError, match="clips 20"):
        build_songbook(corpus, SongbookSettings(clips=20, workers=1))


def test_a_failure_leaves_nothing_behind(patch: Any, tmp_path: Path) -> None:
    with patch.context() as inner:
        inner.setattr(build.questions, "ask", _fail)
        with pytest.raises(UserError, match="no question"):
            build_songbook(tmp_path / "out", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def _fail(*_: Any, **__: Any) -> None:
    raise UserError("no question")


def test_what_a_killed_run_left_behind_is_cleared(patch: Any, tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "old.txt").write_text("old")
    (tmp_path / "out").mkdir()
    build_songbook(tmp_path / "out", SongbookSettings(clips=20, full_pieces=0, workers=1))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "old.txt" not in {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_the_command_makes_a_songbook_of_music21s_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_read_pieces", READ_PIECES)
    songbook_command(tmp_path / "corpus", clips=20, full_pieces=0, workers=1)
    printed = capsys.readouterr().out
    assert "20 fiddle tune, 6 chorale, 4 renaissance, 1 quartet" in printed
    assert "scores left out: " in printed
    assert "test: 2 cuts of 2 pieces" in printed
    assert printed.endswith(f"{tmp_path / 'corpus'}\n")
