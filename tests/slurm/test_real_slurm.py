"""On a real SLURM, two processes that have to end go on by themselves, and leave the undisturbed run's weights.

`make test-slurm` fetches SLURM and runs these; without it they are skipped.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from music_flamingo.cli import main
from music_flamingo.evaluation.audit import audit
from tests.builders import model_directory, write_corpus
from tests.slurm.local_slurm import LocalSlurm, missing, until
from tests.test_resume import CALLBACKS, fit_words, weights

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STEPS = 60
ROLLING = "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 1000}}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"SLURM is not installed: no {', '.join(missing())}; make test-slurm"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSlurm]:
    with pytest.MonkeyPatch.context() as patch, LocalSlurm(tmp_path_factory.mktemp("slurm")) as running:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("songs") / "corpus", train=5, held_out=2)


class Undisturbed:
    """A fit in two processes, without SLURM, that nobody ends; it runs beside what is done meanwhile."""

    def __init__(self, root: Path, corpus: Path) -> None:
        self.stage = root / "stage"
        launcher = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2", "--no-python"]
        command = [*launcher, str(BIN / "music-flamingo"), "fit", *words(root, corpus), "--trainer.devices=2"]
        root.mkdir()
        with (root / "log").open("wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def weights(self) -> dict[str, torch.Tensor]:
        assert self.process.wait(120) == 0, (self.stage.parent / "log").read_text()
        return weights(self.stage)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed") / "fit", corpus)


def words(root: Path, corpus: Path) -> list[str]:
    settings = {
        "run.start": model_directory(),
        "trainer.max_steps": STEPS,
        "trainer.limit_val_batches": 0,
        "trainer.accelerator": "cpu",
        "trainer.strategy": "ddp",
        "trainer.callbacks": f"[{CALLBACKS[0]}, {CALLBACKS[2]}, {ROLLING}]",
        "data.corpus": corpus,
        "data.max_duration": 10,
        "data.num_workers": 1,
    }
    return fit_words("2_sft.yaml", root, **settings)[1:]


class Submitted:
    """A job of two tasks that trains in `root`."""

    def __init__(self, slurm: LocalSlurm, root: Path, corpus: Path, *options: str) -> None:
        self.slurm, self.stage = slurm, root / "stage"
        size = ["--nodes", "1", "--devices-per-node", "2", "--cpus-per-device", "1", *options]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(["slurm", *size, *words(root, corpus)]) == 0
        self.number = re.findall(r"Submitted batch job (\d+)", said.getvalue())[0]

    def log(self) -> str:
        path = self.stage / "slurm" / f"{self.number}.log"
        return path.read_text() if path.exists() else ""

    def state(self) -> str:
        return self.slurm.ask("squeue", "--noheader", "--states=all", f"--jobs={self.number}", "--format=%T").strip()

    def steps(self) -> int:
        path = self.stage / "ledger" / "rank0.jsonl"
        return path.read_text().count('"visits"') if path.exists() else 0

    def signal(self, name: str) -> None:
        self.slurm.ask("scancel", f"--signal={name}", self.number)

    def wait_until_it_trains(self) -> None:
        until(lambda: self.steps() > 2, f"job {self.number} trains: {self.log()}")

    def wait_until_it_is_queued_again(self) -> None:
        until(lambda: self.state() == "PENDING", f"job {self.number} is queued again", seconds=90)

    def wait_until_it_is_done(self) -> None:
        until(lambda: self.hasten() == "COMPLETED", f"job {self.number} completes", seconds=90)

    def hasten(self) -> str:
        """The job's state; a queued one may begin at once.

        SLURM would wait two minutes, from when it has cleaned up behind the job, and not from when it is queued again.
        A slow machine needs a minute to begin.
        """
        state = self.state()
        if state == "PENDING":
            change = ["StartTime=now", "TimeLimit=10"]
            self.slurm.ask("scontrol", "update", f"JobId={self.number}", *change, check=False)
        return state


def require_same_end(job: Submitted, undisturbed: dict[str, torch.Tensor], signal: str = "SIGUSR1") -> None:
    log = job.log()
    ended = re.findall(rf"{signal}: ended after step (\d+); the same command goes on from (\S+)\n", log)
    assert len(ended) == 1
    assert 2 < int(ended[0][0]) < STEPS
    assert log.count(f"going on from {ended[0][1]}") == 1
    assert ended[0][1].endswith(f"checkpoints/step-{int(ended[0][0]):08d}.ckpt")
    assert "Traceback" not in log
    assert not list(job.stage.glob("**/hpc_ckpt*"))
    found = weights(job.stage)
    assert found.keys() == undisturbed.keys()
    assert all(torch.equal(value, undisturbed[name]) for name, value in found.items())
    assert {(each.lost, each.repeated) for each in audit(job.stage)[:-1]} == {(0, 0)}


def test_jobs_that_have_to_end_go_on_by_themselves(
    slurm: LocalSlurm, corpus: Path, undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # SLURM looks every 30 s, and sends its signal up to 30 s early: 25 to 55 s after the start.
    limited = Submitted(slurm, tmp_path / "limited", corpus, "--time", "1:00", "--warn-seconds", "5")
    limited.wait_until_it_trains()
    limited.signal("STOP")  # steps are short, and SLURM's own signal, which wakes it, is to find it training
    told = Submitted(slurm, tmp_path / "told", corpus)
    told.wait_until_it_trains()
    told.signal("USR1")
    told.wait_until_it_is_queued_again()
    assert main(["jobs", "--lines", "30"]) == 0
    shown = capsys.readouterr().out
    assert f"\n{told.number}  stage  " in f"\n{shown}"
    assert "ended after step" in shown
    until(lambda: told.hasten() != "PENDING", "the job that was told to end goes on")
    limited.wait_until_it_is_queued_again()
    for job in (told, limited):
        job.wait_until_it_is_done()
        require_same_end(job, undisturbed.weights())


def test_a_job_whose_place_another_takes_goes_on_after_it(
    slurm: LocalSlurm, corpus: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    job = Submitted(slurm, tmp_path / "preempted", corpus)
    job.wait_until_it_trains()
    slurm.ask("sbatch", "--partition=urgent", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    job.wait_until_it_is_queued_again()
    job.wait_until_it_is_done()
    require_same_end(job, undisturbed.weights(), signal="SIGTERM")


def test_a_job_that_its_owner_cancels_keeps_its_last_step_and_is_not_queued_again(
    slurm: LocalSlurm, corpus: Path, tmp_path: Path
) -> None:
    job = Submitted(slurm, tmp_path, corpus)
    job.wait_until_it_trains()
    slurm.ask("scancel", job.number)
    until(lambda: job.state() == "CANCELLED", "the job ends", seconds=15)
    assert re.search(r"SIGTERM: ended after step \d+; ", job.log())
    assert "is not put into the queue again: SLURM says it is" in job.log()
    assert len(list((job.stage / "checkpoints").glob("*.ckpt"))) == 1


def test_an_array_trains_each_seed_in_a_folder_of_its_own(slurm: LocalSlurm, corpus: Path, tmp_path: Path) -> None:
    folder = "${run.root}/${run.name}"
    size = ["--devices-per-node", "1", "--cpus-per-device", "1", "--seeds", "1", "2"]
    short = ["--trainer.max_steps=3", "--trainer.strategy=auto", f"--trainer.default_root_dir={folder}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["slurm", *size, *words(tmp_path, corpus), *short]) == 0
    number = re.findall(r"Submitted batch job (\d+)", said.getvalue())[0]
    runs = [tmp_path / f"2_sft-seed{seed}" for seed in (1, 2)]
    until(lambda: all((run / "stage.json").is_file() for run in runs), f"both tasks of {number} end", seconds=90)
    assert [yaml.safe_load((run / "recipe.yaml").read_text())["run"]["seed"] for run in runs] == [1, 2]
    logs = tmp_path / "2_sft" / "slurm"
    assert [f"2_sft-seed{task + 1}: fit took" in (logs / f"{number}_{task}.log").read_text() for task in (0, 1)]


def test_devices_that_no_node_has_are_refused_in_one_line(
    slurm: LocalSlurm, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slurm", "--devices-per-node", "64", *words(tmp_path, corpus), "--trainer.accelerator=gpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: sbatch ")
    assert said.count("\n") == 1
    assert "Invalid generic resource (gres) specification" in said
