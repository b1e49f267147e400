"""The command on this machine, and on folders and settings that are broken on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from music_flamingo.checkpoint_folder import write_manifest, write_rank
from music_flamingo.cli import main
from music_flamingo.planning import doctor, machine
from music_flamingo.write_access import write_error
from tests.builders import write_corpus


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to stand in, where no constraints.txt is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What was looked at -> its line."""
    return {line[9:25].strip(): line for line in capsys.readouterr().out.splitlines()}


def test_a_machine_in_order_is_told_in_a_line_each(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(elsewhere / "runs" / "new")]) == 0
    told = lines(capsys)
    assert list(told)[:4] == ["versions", "GPU", "flash attention", "gloo"]
    assert told["gloo"].startswith("ok")
    assert not (elsewhere / "runs").exists()


def test_a_missing_package_ends_the_examination(monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    monkeypatch.setattr(doctor, "distributions", lambda: [])
    told = list(doctor.examine(None))
    assert {each.what for each in told} == {"versions"}
    assert {each.level for each in told} == {"problem"}


def test_a_network_interface_that_is_not_there_fails_gloo_in_a_real_try() -> None:
    code = "from music_flamingo.planning.machine import gloo_error; print(gloo_error())"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "nowhere0"}
    tried = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "nowhere0" in tried.stdout


def test_a_folder_that_cannot_be_written_is_a_problem(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "file").touch()
    assert main(["doctor", "file/run"]) == 1
    told = capsys.readouterr()
    assert "problem  run folder" in told.out
    assert told.err == (
        "error: expected a machine that is ready, found problems with run folder: see the lines above\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_a_problem(elsewhere: Path) -> None:
    elsewhere.chmod(0o500)
    assert write_error(elsewhere) == "Permission denied"


def test_a_corpus_whose_songs_are_gone_is_a_problem(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(elsewhere / "corpus")
    assert main(["doctor", str(corpus)]) == 0
    assert "nothing wrong with the first" in lines(capsys)["corpus"]
    for audio in corpus.rglob("*.flac"):
        audio.unlink()
    assert main(["doctor", str(corpus)]) == 1
    assert "missing file" in lines(capsys)["corpus"]


def test_a_run_whose_newest_checkpoint_is_cut_short_is_warned_of(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("step=1.ckpt", "step=2.ckpt"):
        folder = elsewhere / "run" / "checkpoints" / name
        folder.mkdir(parents=True)
        write_rank(folder, 0, {})
        write_manifest(folder, 1, {})
    newest = machine.checkpoints(elsewhere / "run")
    assert list(newest.values()) == [True, True]
    shard = next((elsewhere / "run" / "checkpoints" / next(iter(newest))).glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-2])
    assert main(["doctor", "run"]) == 0
    assert lines(capsys)["checkpoints"].startswith("warning")


def test_two_folders_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "a", "b"]) == 2
    assert "b" in capsys.readouterr().err
