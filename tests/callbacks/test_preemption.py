"""A fit that a signal ends keeps the step under way, says so, and goes on to the weights it would have had."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, TensorDataset

from music_flamingo.callbacks import Preemption, RollingCheckpoint
from music_flamingo.callbacks.preemption import requeue
from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.evaluation.audit import audit
from tests.builders import quiet_trainer, write_corpus
from tests.dummy_stage import Stage
from tests.test_resume import CALLBACKS, fit_words, weights

BIN = Path(sys.executable).parent
ROLLING = "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 1000}}"
ENDING = "{class_path: music_flamingo.callbacks.Preemption}"
WITHOUT_SLURM = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
TWO = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2", "--no-python"]


def words(root: Path, processes: int = 1) -> list[str]:
    settings = {
        "trainer.callbacks": f"[{CALLBACKS[0]}, {ENDING}, {CALLBACKS[2]}, {ROLLING}]",
        "trainer.max_steps": 30,
        "trainer.limit_val_batches": 0,
        "trainer.accelerator": "cpu",
        "trainer.devices": processes,
        "data.max_duration": 10,
        "data.num_workers": 1,
        **({"trainer.strategy": "ddp"} if processes > 1 else {}),
    }
    return fit_words("2_sft.yaml", root, **settings)


def started(root: Path, *launcher: str) -> "subprocess.Popen[bytes]":
    """A fit that has taken its first steps, with all its processes in one group."""
    processes = 2 if launcher else 1
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [*launcher, str(BIN / "music-flamingo"), *words(root, processes)],
            env=WITHOUT_SLURM | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    ledger = root / "stage" / "ledger" / f"rank{processes - 1}.jsonl"
    while not ledger.exists() or ledger.read_text().count('"visits"') < 3:
        assert process.poll() is None, (root / "log").read_text()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_signal_ends_a_fit_with_its_last_step_within_ten_seconds(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)  # as the process has, or sums are rounded otherwise
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    process = started(tmp_path)
    os.killpg(process.pid, signal.Signals[name])  # SLURM tells every process of a job, loading processes too
    assert process.wait(10) == 128 + signal.Signals[name]
    log, stage = (tmp_path / "log").read_text(), tmp_path / "stage"
    said = re.findall(rf"^{name}: ended after step (\d+); the same command goes on from (.*)$", log, re.MULTILINE)
    assert len(said) == 1
    assert list((stage / "checkpoints").iterdir()) == [Path(said[0][1])]
    assert 2 < int(said[0][0]) < 30
    assert "Traceback" not in log
    assert not (stage / "stage.json").exists()
    if name == "SIGUSR1":
        assert main(words(tmp_path)) == 0
        undisturbed = tmp_path / "undisturbed"
        undisturbed.mkdir()
        (undisturbed / "corpus").symlink_to(tmp_path / "corpus")
        assert main(words(undisturbed)) == 0
        expected = weights(undisturbed / "stage")
        assert all(torch.equal(value, expected[key]) for key, value in weights(stage).items())
        assert {(each.lost, each.repeated) for each in audit(stage)[:-1]} == {(0, 0)}


def test_ranks_agree_where_one_of_them_is_told(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    process = started(tmp_path, *TWO)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    second = next(child for child in children if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes())
    os.kill(int(second), signal.SIGUSR1)
    assert process.wait(20) != 0
    assert (tmp_path / "log").read_text().count("SIGUSR1: ended after step") == 1
    assert len(list((tmp_path / "stage" / "checkpoints").glob("*.ckpt"))) == 1


class TellItself(Callback):
    """Sends a signal to its own process in some batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            os.kill(os.getpid(), signal.SIGUSR1)


def fit_told_in(batch: int, folder: Path, **settings: Any) -> Trainer:
    callbacks = [Preemption(), TellItself(batch), RollingCheckpoint(every_steps=2)]
    trainer = quiet_trainer(folder, callbacks=callbacks, enable_checkpointing=True, **settings)
    trainer.fit(Stage(), DataLoader(TensorDataset(torch.ones(8))))
    return trainer


def test_the_optimizer_step_under_way_is_finished_with_all_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SystemExit) as stopped:
        fit_told_in(3, tmp_path, max_steps=4, accumulate_grad_batches=2)  # step 2 takes batches 2 and 3
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.ckpt"]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_fit_at_its_last_step_ends_as_ever(tmp_path: Path) -> None:
    assert fit_told_in(3, tmp_path, max_steps=4).global_step == 4


def test_a_fit_without_rolling_checkpoints_is_refused(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[Preemption()], enable_checkpointing=True, max_steps=1)
    with pytest.raises(UserError, match="Preemption: expected RollingCheckpoint among trainer.callbacks"):
        trainer.fit(Stage(), DataLoader(TensorDataset(torch.ones(1))))


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program of SLURM's that does what is said here."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("squeue", "scontrol", "said"),
    [
        ("echo RUNNING", 'echo "$@" > asked', "job 7 is in the queue again"),
        ("echo COMPLETING", "exit 1", "job 7 is not put into the queue again: SLURM says it is COMPLETING"),
        (
            "echo RUNNING",
            "echo 'Requested operation\nis disabled' >&2; exit 1",
            "job 7 could not be put into the queue again, submit it once more: Requested operation is disabled",
        ),
    ],
)
def test_a_running_job_is_put_into_the_queue_again(
    squeue: str, scontrol: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "squeue", squeue)
    stand_in(tmp_path, "scontrol", scontrol)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    assert requeue("7") == said
    if (tmp_path / "asked").exists():
        assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_a_job_whose_slurm_cannot_be_asked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue("7").startswith("job 7 could not be put into the queue again, submit it once more: ")
