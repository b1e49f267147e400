"""A fit that is told to end goes no further than the step under way, keeps it, and asks SLURM to be started again.

SLURM sends SIGUSR1 some time before a job's limit (`sbatch --signal=USR1@300`), and SIGTERM where another job takes
its place.
"""

import os
import signal
import subprocess
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import distributed

from music_flamingo.callbacks.rolling_checkpoint import RollingCheckpoint
from music_flamingo.errors import UserError

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
REQUEUED_STATUS = os.EX_TEMPFAIL
"""75, which a shell reads as: failed for now, try again."""
ANSWER_SECONDS = 30


class Preemption(Checkpoint):
    """Ends a fit at SIGUSR1 or SIGTERM with a checkpoint of the optimizer step under way.

    The checkpoint is the `RollingCheckpoint`'s, from which the same command goes on. In a SLURM job, rank 0 puts the
    job into the queue again, and the exit status is 75; elsewhere it is 128 and the signal's number. A validation
    under way runs to its end, and one more step, first. A fit at its last step ends as ever; a process that is still
    being started is killed, as it has nothing to keep.

    Lightning calls checkpoint callbacks after all others, which have then seen the step that is kept.
    """

    def __init__(self) -> None:
        self._received = 0
        self._last_step = 0
        self._group: distributed.ProcessGroup | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if not any(isinstance(each, RollingCheckpoint) for each in trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError(
                "Preemption: expected RollingCheckpoint among trainer.callbacks, which keeps the last step, got none: "
                "add --trainer.callbacks+=music_flamingo.callbacks.RollingCheckpoint"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of Lightning's handler of SIGTERM, which waits for other ranks. When the fit ends, Lightning puts all
        # handlers back that were there before it.
        for number in SIGNALS:
            signal.signal(number, self._receive)
        self._last_step = trainer.global_step
        if trainer.world_size > 1:
            # On the CPU, where asking does not wait for what the devices still have to do.
            self._group = distributed.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._last_step:  # gradients are still being accumulated
            return
        self._last_step = trainer.global_step
        received = self._received_by_any()
        if received and trainer.global_step != trainer.max_steps:
            self._end(trainer, received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _received_by_any(self) -> int:
        """The signal that any rank has received, or 0; the same on all, which a signal may reach a step apart."""
        if self._group is None:
            return self._received
        received = torch.tensor(self._received)
        distributed.all_reduce(received, distributed.ReduceOp.MAX, group=self._group)
        return int(received)

    def _end(self, trainer: Trainer, number: int) -> None:
        rolling: list[Any] = [each for each in trainer.callbacks if isinstance(each, RollingCheckpoint)]  # type: ignore[attr-defined]
        path = rolling[0].save_now(trainer)
        job = os.environ.get("SLURM_JOB_ID")
        if trainer.is_global_zero:
            name = signal.Signals(number).name
            print(f"{name}: ended after step {trainer.global_step}; the same command goes on from {path}", flush=True)
            if job is not None:
                print(requeue(job), flush=True)
        if self._group is not None:
            distributed.barrier(self._group)  # srun may end all ranks with the first, and rank 0 had to ask for more
        raise SystemExit(128 + number if job is None else REQUEUED_STATUS)


def requeue(job: str) -> str:
    """Put a running SLURM job into the queue again; says in a line what came of it.

    A job that its owner has cancelled is no longer running, and stays so.
    """
    try:
        state = _answer("squeue", "--noheader", f"--jobs={job}", "--format=%T")
        if state != "RUNNING":
            return f"job {job} is not put into the queue again: SLURM says it is {state}"
        _answer("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return f"job {job} could not be put into the queue again, submit it once more: {' '.join(said.split())}"
    return f"job {job} is in the queue again"


def _answer(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    return done.stdout.strip()
