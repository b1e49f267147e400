import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import soundfile

from music_flamingo.cli import main
from music_flamingo.corpora.inspection.check import check_corpus
from music_flamingo.corpora.inspection.song_checks import SongLimits
from music_flamingo.corpora.shar.build import shar_command
from tests.corpora.inspection.broken_songs import (
    BROKEN_SONGS,
    RATE,
    conversation,
    cut_line,
    music,
    write_clean_corpus,
    write_manifest,
)


def check(corpus: Path, workers: int = 1, timeout: float = 20.0, **limits: Any) -> dict[str, Any]:
    report = check_corpus(corpus, SongLimits(**limits), workers, timeout)
    assert json.loads((corpus / "check" / "findings.json").read_text()) == report
    return report


def found(report: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    return [(each["kind"], each["cut"], each["severity"]) for each in report["findings"]]


def quarantined(corpus: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (corpus / "quarantine.jsonl").read_text().splitlines()]


def write_broken_corpus(corpus: Path) -> Path:
    """A clean corpus and, in its training split, every broken song."""
    write_clean_corpus(corpus)
    lines = []
    for number, (_, write, manifest) in enumerate(BROKEN_SONGS.values()):
        write(corpus / "audio" / f"broken-{number}.wav")
        lines.append(cut_line(f"broken-{number:02d}", f"audio/broken-{number}.wav", **manifest))
    write_manifest(corpus, "train", lines)
    return corpus


def test_in_a_clean_corpus_nothing_is_found(tmp_path: Path) -> None:
    report = check(write_clean_corpus(tmp_path), workers=2)
    assert report["findings"] == []
    assert report["counts"]["songs"] == {"train": 3, "val": 1, "test": 1}
    assert not (tmp_path / "quarantine.jsonl").exists()
    assert "Nothing wrong was found in 5 songs." in (tmp_path / "check" / "report.html").read_text()


def test_a_plain_manifest_is_read_as_a_compressed_one(tmp_path: Path) -> None:
    import gzip  # noqa: PLC0415

    write_clean_corpus(tmp_path)
    for packed in tmp_path.glob("*.jsonl.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    report = check(tmp_path)
    assert report["findings"] == []
    assert report["counts"]["songs"] == {"train": 3, "val": 1, "test": 1}


def test_a_corpus_of_broken_songs_is_found_whole_and_its_errors_are_in_quarantine(tmp_path: Path) -> None:
    report = check(write_broken_corpus(tmp_path), workers=2)
    expected = [(kind, f"broken-{number:02d}") for number, (kind, _, _) in enumerate(BROKEN_SONGS.values())]
    assert [(kind, cut) for kind, cut, _ in found(report)] == expected
    errors = {cut for _, cut, severity in found(report) if severity == "error"}
    assert {line["cut"] for line in quarantined(tmp_path)} == errors
    assert all(line["conversation"] is None for line in quarantined(tmp_path))


def test_a_line_that_is_no_cut_is_a_finding_and_the_rest_is_checked(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    no_conversations = cut_line("train-1", "audio/train-1.flac", custom={"conversations": []})
    write_manifest(tmp_path, "train", ["{", no_conversations, '{"id": "a"}', cut_line("b", "audio/none.wav")])
    assert found(check(tmp_path)) == [
        ("bad_line", None, "error"),
        ("bad_line", "a", "error"),
        ("missing", "b", "error"),
        ("bad_line", "train-1", "error"),
    ]


def test_a_manifest_cut_off_is_checked_up_to_there(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path, train=30)
    manifest = tmp_path / "cuts_train.jsonl.gz"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    report = check(tmp_path)
    assert report["by_kind"] == {"bad_line": 1}
    assert report["findings"][0]["path"] == "cuts_train.jsonl.gz"


def test_texts_are_checked(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    said = [
        conversation("train-0", "tempo"),
        conversation("train-0", "empty", answer="  "),
        conversation("train-0", "options", answer="organ", options=["flute", "violin"]),
        conversation("train-0", "leak", question="How does the flute sound?", answer="the flute"),
        conversation("train-0", "again", question="what is the TEMPO", answer="Fast tempo."),
        conversation("train-0", "number", answer=3),
    ]
    write_manifest(tmp_path, "train", [cut_line("train-0", "audio/train-0.wav", conversations=said)])
    assert [(each["kind"], each["conversation"]) for each in check(tmp_path)["findings"]] == [
        ("duplicate_text", "train-0-again"),
        ("empty_text", "train-0-empty"),
        ("label_leak", "train-0-leak"),
        ("bad_conversation", "train-0-number"),
        ("answer_not_in_options", "train-0-options"),
    ]
    assert [(line["conversation"], line["kind"]) for line in quarantined(tmp_path)] == [
        ("train-0-empty", "empty_text"),
        ("train-0-number", "bad_conversation"),
        ("train-0-options", "answer_not_in_options"),
    ]


def test_the_same_audio_in_two_splits_is_a_leak_and_in_one_a_duplicate(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    for name, seed in (("copy", 7), ("other", 8), ("again", 7)):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", music(seed=seed), RATE)
    soundfile.write(
        tmp_path / "audio" / "held-out.flac", *soundfile.read(tmp_path / "audio" / "other.wav", dtype="int16")
    )
    write_manifest(tmp_path, "train", [cut_line(name, f"audio/{name}.wav") for name in ("copy", "other", "again")])
    write_manifest(tmp_path, "test", [cut_line("held-out", "audio/held-out.flac")])
    assert found(check(tmp_path, workers=2)) == [("duplicate_audio", "copy", "warning"), ("leak", "other", "error")]
    assert quarantined(tmp_path) == [{"cut": "other", "conversation": None, "kind": "leak"}]


def test_excerpts_of_one_file_in_two_splits_are_a_leak(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    write_manifest(tmp_path, "train", [cut_line("a", "audio/test-0.ogg") | {"start": 0.0, "duration": 0.2}])
    write_manifest(tmp_path, "test", [cut_line("b", "audio/test-0.ogg") | {"start": 0.25, "duration": 0.25}])
    assert [each for each in (tmp_path / "audio").glob("test-0.*")] == [tmp_path / "audio" / "test-0.ogg"]
    assert found(check(tmp_path)) == [("leak", "a", "error")]


def test_songs_without_a_file_of_their_own_are_checked_too(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path / "corpus")
    soundfile.write(tmp_path / "corpus" / "audio" / "train-1.flac", 0 * music(), RATE)
    write_manifest(tmp_path / "corpus", "val", [cut_line("mute", "audio/train-1.flac")])
    shar_command(str(tmp_path / "corpus"), tmp_path / "stored")
    for _ in range(2):
        report = check(tmp_path / "stored")
        assert report["counts"]["songs"] == {"train": 3, "val": 1, "test": 1}
        assert found(report) == [("silent", "mute", "error")]


@pytest.mark.parametrize(
    ("source", "kind"), [("mute.wav", "silent"), ("none.wav", "missing"), ("../secret.wav", "outside_root"), ("", None)]
)
def test_all_sounds_of_a_song_are_checked(tmp_path: Path, source: str, kind: str | None) -> None:
    corpus = write_clean_corpus(tmp_path / "corpus")
    for place, samples in (("secret.wav", music(seed=9)), ("corpus/audio/mute.wav", 0 * music())):
        soundfile.write(tmp_path / place, samples, RATE)
    second = cut_line("second", f"audio/{source}" if kind != "outside_root" else source)["recording"]
    sounds = {"custom": {"sound_2": second}} if kind else {}
    write_manifest(corpus, "train", [cut_line("pair", "audio/train-0.wav", **sounds)])
    assert found(check(corpus)) == ([(kind, "pair", "error")] if kind else [])


def test_sounds_that_are_not_numbered_through_are_found(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    sounds = {"sound_3": cut_line("third", "audio/val-0.flac")["recording"]}
    write_manifest(tmp_path, "train", [cut_line("pair", "audio/train-0.wav", custom=sounds)])
    assert found(check(tmp_path)) == [("bad_line", "pair", "error")]


def test_an_id_used_twice_is_found(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    write_manifest(tmp_path, "val", [cut_line("train-0", "audio/val-0.wav")])
    assert found(check(tmp_path)) == [("duplicate_id", "train-0", "error")]


def test_a_song_longer_than_the_model_takes_is_found(tmp_path: Path) -> None:
    report = check(write_clean_corpus(tmp_path, train=1, held_out=1), max_seconds=0.4)
    assert report["by_kind"] == {"too_long": 3}


@pytest.mark.parametrize("source", ["../secret.wav", "audio/../../secret.wav", "{outside}/secret.wav", "audio/a\0.wav"])
def test_a_path_out_of_the_corpus_is_not_opened(tmp_path: Path, source: str) -> None:
    corpus = write_clean_corpus(tmp_path / "corpus")
    soundfile.write(tmp_path / "secret.wav", music(seed=9), RATE)
    line = cut_line("thief", source.format(outside=tmp_path))
    write_manifest(corpus, "train", [line])
    assert found(check(corpus)) == [("outside_root", "thief", "error")]
    partial = (corpus / "check" / "findings.partial.jsonl").read_text()
    assert "thief" not in partial
    if "\0" not in source:
        assert found(check(corpus, allow_outside=True)) == []


def test_a_link_out_of_the_corpus_is_not_followed(tmp_path: Path) -> None:
    corpus = write_clean_corpus(tmp_path / "corpus")
    soundfile.write(tmp_path / "secret.wav", music(seed=9), RATE)
    (corpus / "audio" / "link.wav").symlink_to(tmp_path / "secret.wav")
    (corpus / "audio" / "inside.wav").symlink_to(corpus / "audio" / "train-0.wav")
    lines = [cut_line("link", "audio/link.wav"), cut_line("inside", "audio/inside.wav")]
    write_manifest(corpus, "train", lines)
    assert found(check(corpus)) == [("symlink_outside", "link", "error")]


@pytest.mark.parametrize("kind", ["command", "url"])
def test_a_source_that_is_no_file_is_never_run(tmp_path: Path, kind: str) -> None:
    write_clean_corpus(tmp_path)
    write_manifest(tmp_path, "train", [cut_line("a", f"touch {tmp_path / 'ran'}", source_type=kind)])
    assert found(check(tmp_path)) == [("not_a_file", "a", "error")]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "link"), [("../out.flac", None), ("/etc/out.flac", None), ("a/../../b", None), ("a.flac", "/etc/passwd")]
)
def test_an_archive_that_writes_elsewhere_is_found_and_not_unpacked(
    tmp_path: Path, name: str, link: str | None
) -> None:
    corpus = write_clean_corpus(tmp_path / "corpus")
    with tarfile.open(corpus / "recording.000000.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("plain.flac"))
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    assert [(each["kind"], each["path"]) for each in check(corpus)["findings"]] == [
        ("bad_archive", "recording.000000.tar")
    ]
    assert {path.name for path in set(tmp_path.rglob("*")) - set(before)} <= {
        *("check", "findings.json", "findings.partial.jsonl", "report.html", "quarantine.jsonl")
    }


def test_a_killed_check_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    (whole := tmp_path / "whole" / "corpus").mkdir(parents=True)
    (killed := tmp_path / "killed" / "corpus").mkdir(parents=True)
    check(write_broken_corpus(whole), workers=2)
    write_broken_corpus(killed)
    partial = killed / "check" / "findings.partial.jsonl"
    words = [sys.executable, "-m", "music_flamingo.cli", "data", "check", str(killed), "--workers", "1"]
    process = subprocess.Popen([*words, "--timeout", "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(10_000):
        if partial.is_file() and partial.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "check" / "findings.json").exists()
    partial.write_bytes(partial.read_bytes()[:-5])
    check(killed)
    names = ("check/findings.json", "quarantine.jsonl")
    assert [(killed / name).read_text() for name in names] == [(whole / name).read_text() for name in names]


def test_a_second_check_reads_only_what_changed(tmp_path: Path) -> None:
    write_clean_corpus(tmp_path)
    check(tmp_path)
    partial = tmp_path / "check" / "findings.partial.jsonl"
    known = partial.read_text()
    check(tmp_path)
    assert partial.read_text().split() == known.split()
    soundfile.write(tmp_path / "audio" / "train-0.wav", 0 * music(), RATE)
    assert found(check(tmp_path)) == [("silent", "train-0", "error")]
    assert len(list(filter(None, partial.read_text().splitlines()))) == 5 + 1


def test_mending_the_corpus_empties_the_quarantine_but_for_a_persons_own_lines(tmp_path: Path) -> None:
    write_broken_corpus(tmp_path)
    own = {"cut": "val-0", "conversation": None, "kind": "by ear"}
    overlap = {"cut": "val-1", "conversation": None, "kind": "overlap_audio"}
    (tmp_path / "quarantine.jsonl").write_text(f"{json.dumps(own)}\n{json.dumps(overlap)}\n")
    check(tmp_path)
    assert len(quarantined(tmp_path)) > 2
    write_clean_corpus(tmp_path)
    check(tmp_path)
    assert quarantined(tmp_path) == [own, overlap]


def test_the_command_says_what_it_found_and_strict_makes_it_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_clean_corpus(tmp_path / "songs", train=1)
    write_manifest(corpus, "train", [cut_line("a", "audio/none.wav")])
    assert main(["data", "check", str(corpus), "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 error and 0 warnings in 3 songs (0.0 h) with 3 conversations: ")
    assert main(["data", "check", str(corpus), "--workers", "1", "--strict"]) == 1
    assert "songs: expected no errors, found 1: see " in capsys.readouterr().err


def test_a_folder_without_songs_is_no_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "expected a corpus folder with cuts_train.jsonl.gz" in capsys.readouterr().err
