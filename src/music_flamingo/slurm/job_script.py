"""What does the script of a job say? `recipes/slurm/train.sbatch` is one."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from music_flamingo.errors import UserError
from music_flamingo.slurm.time_limit import seconds_of

TEMPLATE = """\
#!/bin/bash
# A fit on a SLURM cluster: one process for each device, checkpoints before the job has to end, and on from there when
# it is started again. `music-flamingo slurm` writes and submits such a script for any recipe. By hand: change what
# stands below for your cluster, and `sbatch` it from the folder in which the recipe's paths begin.
{options}

set -euo pipefail
cd -- {directory}

# What the nodes need to find Python, CUDA and the project goes here, such as: module load cuda

# All processes meet at the first node, every job at a port of its own.
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_ADDR=${{hosts%%$'\\n'*}}
MASTER_PORT=$((15000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT
# Where nodes have several networks, name the fast one:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
# srun does not ask for as many cores by itself.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

# Preemption: at SIGUSR1 and SIGTERM the step under way ends, a checkpoint is written, and the job is put into the queue
# again, where SLURM holds it for two minutes. Started again, this command goes on from the newest checkpoint. The run's
# folder has to be one that all nodes see.
command=(
{command}
)
{tasks}srun --kill-on-bad-exit=1 "${{command[@]}}"
"""
OPTION_WIDTH = 36


@dataclass(frozen=True)
class Resources:
    """What a job takes of a cluster.

    Args:
        nodes: machines.
        devices_per_node: processes on each.
        cpus_per_device: cores for each process.
        time: limit as SLURM writes it, such as 1-12:00:00.
        warn_seconds: how long before the limit the command is told to end.
        gpus: whether a device is a GPU.
        more: further options of sbatch, such as partition=gpu.

    Raises:
        UserError: a number below 1, or a warning before the job begins.
    """

    nodes: int
    devices_per_node: int
    cpus_per_device: int
    time: str
    warn_seconds: int
    gpus: bool
    more: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("nodes", "devices_per_node", "cpus_per_device"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(self, name)}")
        limit = seconds_of(self.time)
        if not 0 < self.warn_seconds < limit:
            raise UserError(
                f"--warn-seconds: expected more than 0 and less than the {limit} seconds of --time {self.time}, got "
                f"{self.warn_seconds}: give more time or fewer"
            )


@dataclass(frozen=True)
class Job:
    """What SLURM is asked for.

    Args:
        name: shown by squeue.
        log: file for what the job prints; %j stands for its number, %A and %a for those of an array and its task.
        directory: where relative paths of the command begin.
        command: the words that one process is started with.
        tasks: words to add in each task of an array; empty for a single job.
        resources: for each task.
    """

    name: str
    log: str
    directory: Path
    command: Sequence[str]
    tasks: Sequence[Sequence[str]]
    resources: Resources


def script(job: Job) -> str:
    """The text that sbatch takes."""
    return TEMPLATE.format(
        options="\n".join(_options(job)),
        directory=shlex.quote(str(job.directory)),
        command="\n".join(f"    {shlex.join(words)}" for words in _options_apart(job.command)),
        tasks=_tasks(job.tasks),
    )


def _options(job: Job) -> Iterator[str]:
    asked = job.resources
    yield _option("job-name", quoted(job.name), "")
    yield _option("nodes", asked.nodes, "machines; trainer.num_nodes below is the same")
    yield _option("ntasks-per-node", asked.devices_per_node, "processes on each; trainer.devices below is the same")
    if asked.gpus:
        yield _option("gpus-per-node", asked.devices_per_node, "one for each process")
    yield _option("cpus-per-task", asked.cpus_per_device, "for a process and those that load its songs")
    yield _option("time", asked.time, "days-hours:minutes:seconds")
    yield _option("signal", f"USR1@{asked.warn_seconds}", "seconds before the limit: two steps and a checkpoint")
    yield _option("requeue", "", "also where a node fails")
    yield _option("open-mode", "append", "the log of a job that was started again goes on")
    yield _option("output", quoted(job.log), "in a folder that exists")
    if job.tasks:
        yield _option("array", f"0-{len(job.tasks) - 1}", "one run each")
    for option in asked.more:
        yield f"#SBATCH --{option}"


def _option(name: str, value: object, comment: str) -> str:
    line = f"#SBATCH --{name}" + (f"={value}" if value != "" else "")
    return f"{line:<{OPTION_WIDTH}} # {comment}" if comment else line


def quoted(text: str) -> str:
    """A value as sbatch reads it from a script, which knows double quotes and backslashes only."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _tasks(tasks: Sequence[Sequence[str]]) -> str:
    if not tasks:
        return ""
    lines = [f"    {number}) command+=({shlex.join(words)}) ;;" for number, words in enumerate(tasks)]
    return "\n".join(["case $SLURM_ARRAY_TASK_ID in", *lines, "esac", ""])


def _options_apart(words: Iterable[str]) -> list[list[str]]:
    """Words in lines that begin with an option each."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return lines
