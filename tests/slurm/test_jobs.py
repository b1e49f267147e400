import os
from pathlib import Path

import pytest

from music_flamingo.cli import main
from music_flamingo.slurm.jobs import log_of, tail

RECORD = (
    "JobId=12 JobName=2_sft UserId=me(1000) Command=/a b/train.sbatch WorkDir=/a b StdErr=/a b/50%%/12.log "
    "StdIn=/dev/null StdOut=/a b/50%%/12.log Power=\n"
)


def test_a_log_is_found_in_what_scontrol_says() -> None:
    assert log_of(RECORD) == Path("/a b/50%/12.log")
    assert log_of("JobId=12 StdOut=/logs/12.log\n") == Path("/logs/12.log")
    assert log_of("JobId=12\n") == Path(os.devnull)


def test_the_tail_of_a_log_is_its_last_lines_that_say_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000 + b"\nstep 1\rstep 2\n\n\xff end\n")
    assert tail(log, 2) == ["step 2", "\ufffd end"]
    assert tail(log, 0) == tail(tmp_path / "none", 2) == []


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_jobs_are_shown_with_the_end_of_their_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "12.log").write_text("one\ntwo\nthree\n")
    listed = "echo '12 RUNNING 1:02 1-00:00:00 2 2_sft high'; echo '13_[0-2] PENDING 0:00 10:00 1 4_grpo'"
    record = f"case $4 in 12) echo 'JobId=12 StdOut={tmp_path}/12.log Power=';; *) echo 'JobId=13';; esac"
    programs(tmp_path, monkeypatch, squeue=listed, scontrol=record)
    assert main(["jobs", "--lines", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"12  2_sft high  RUNNING  1:02 of 1-00:00:00 on 2 nodes  {tmp_path}/12.log",
        "    two",
        "    three",
        "13_[0-2]  4_grpo  PENDING  0:00 of 10:00 on 1 node  /dev/null",
    ]


def test_no_jobs_are_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(tmp_path, monkeypatch, squeue="true")
    assert main(["jobs"]) == 0
    assert capsys.readouterr().out == "no job waits, runs or has just ended\n"


def test_without_slurm_or_its_controller_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(tmp_path, monkeypatch, squeue="echo 'slurm_load_jobs error:\n  Unable to contact' >&2; exit 1")
    assert main(["jobs"]) == 2
    assert capsys.readouterr().err.endswith("slurm_load_jobs error: Unable to contact\n")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert main(["jobs"]) == 2
    assert capsys.readouterr().err == (
        "error: expected SLURM's squeue on PATH, found none: run this on a cluster's login node\n"
    )
