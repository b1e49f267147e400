"""Kills a training run at chosen moments, again and again, and starts it again each time.

The run is the real command in a process of its own, made by a fork server that has imported what it needs. It tells
the killer when it begins to write a checkpoint, to validate, to sample, and gets SIGKILL at a random moment from there
on; nothing in it can tell that it is watched.
"""

import multiprocessing
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.kill.watched_run import watched_run

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["benchmarks.kill.watched_run"])
LONGEST_RUN_SECONDS = 600.0
ENDING_SECONDS = 10.0
"""That a launcher leaves the other ranks."""


@dataclass
class Killer:
    """Starts a command until it ends by itself.

    Args:
        words: of `music-flamingo`.
        log: takes what the command prints.
        seed: of the moments.
        ranks: processes that train together, of which one is killed; a launcher then ends the others.

    Attributes:
        kills: by the place at which the run was aimed at.
        inside: of those, how many hit it: what had begun there had not ended.
        starts: of the command.
    """

    words: Sequence[str]
    log: Path
    seed: int = 0
    ranks: int = 1
    kills: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._seconds: dict[str, float] = {"anywhere": 4.0}  # how long a place lasts, as last seen

    def run(self, places: Sequence[str], on_kill: Callable[[], Any] = lambda: None) -> int:
        """Kill the command once at each place, or until it ends before; then let it end. Returns the kills.

        Raises:
            RuntimeError: the command failed by itself, or does not end.
        """
        for number, place in enumerate(places):
            if not self._start_and_kill(place):
                return number
            on_kill()
        self._start_and_kill(None)
        return len(places)

    def _start_and_kill(self, place: str | None) -> bool:
        """Whether the command was killed, rather than ending first."""
        pipes = [FORKS.Pipe(duplex=False) for _ in range(self.ranks)]
        processes = [
            FORKS.Process(target=watched_run, args=(list(self.words), sender, str(self.log), environment))
            for (_, sender), environment in zip(pipes, rank_environments(self.ranks), strict=True)
        ]
        for process, (_, sender) in zip(processes, pipes, strict=True):
            process.start()
            sender.close()
        self.starts += 1
        victim = self._random.randrange(self.ranks)
        process, (events, _) = processes[victim], pipes[victim]
        hit = self._wait_for(place, events)
        if hit is not None:
            process.kill()
        process.join(LONGEST_RUN_SECONDS)
        still_there = _drain(events)
        for other in processes:
            if process.exitcode != 0:
                other.terminate()
            other.join(ENDING_SECONDS)
            other.kill()
            other.join()
        if process.exitcode == -signal.SIGKILL and place is not None:
            self.kills[place] += 1
            self.inside[place] += hit is True and f"-{place}" not in still_there
            return True
        if process.exitcode != 0:
            raise RuntimeError(f"start {self.starts} ended with {process.exitcode}; see {self.log}")
        return False

    def _wait_for(self, place: str | None, events: Connection) -> bool | None:
        """Return at the moment to kill: True inside the place, False elsewhere; None where the run ended first."""
        occurrence = self._random.randint(1, 3)
        begun: dict[str, float] = {}
        while True:
            try:
                event = events.recv()
            except EOFError:
                return None
            kind, name = event[0], event[1:]
            if kind == "+":
                begun[name] = time.perf_counter()
                occurrence -= name == place
            elif name in begun:
                self._seconds[name] = time.perf_counter() - begun[name]
            if name == place and kind == "+" and (occurrence == 0 or place == "anywhere"):
                time.sleep(self._random.uniform(0, self._seconds.get(place, 0.01)))
                return place != "anywhere"


def rank_environments(ranks: int) -> list[dict[str, str]]:
    """What torchrun tells each of its processes."""
    if ranks == 1:
        return [{}]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    same = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "kill", "GROUP_RANK": "0"}
    same |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    return [{**same, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _drain(events: Connection) -> list[str]:
    """What the run still said."""
    said = []
    try:
        while events.poll():
            said.append(events.recv())
    except EOFError:
        pass
    return said
