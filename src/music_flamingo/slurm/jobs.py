"""`music-flamingo jobs`: what runs on the cluster, and what it printed last."""

import os
import re
from pathlib import Path

from music_flamingo.slurm.programs import ask

FORMAT = "%i %T %M %l %D %j"
LOG = re.compile(r" StdOut=(.*?)(?= \w+=|$)", re.MULTILINE)
TAIL_BYTES = 16_384


def jobs_command(lines: int = 3) -> None:
    """Show your jobs, waiting, running and just ended, with the last lines of their logs.

    Args:
        lines: how many of each log.
    """
    listed = ask("squeue", "--me", "--noheader", "--states=all", f"--format={FORMAT}").splitlines()
    if not listed:
        print("no job waits, runs or has just ended")
    for line in listed:
        number, state, taken, limit, nodes, name = line.strip().split(maxsplit=5)
        log = log_of(ask("scontrol", "--oneliner", "show", "job", number))
        print(f"{number}  {name}  {state}  {taken} of {limit} on {nodes} {'node' if nodes == '1' else 'nodes'}  {log}")
        for last in tail(log, lines):
            print(f"    {last}")


def log_of(record: str) -> Path:
    """The log's place in what `scontrol --oneliner show job` says of a job."""
    found = LOG.search(record)
    return Path(found[1].replace("%%", "%") if found else os.devnull)


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a file that may be long, or not there yet."""
    if not log.is_file() or lines < 1:
        return []
    with log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-lines:]
