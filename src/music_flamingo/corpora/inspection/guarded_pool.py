"""Work in processes that may hang or die: each job has a time limit, and a lost process costs one job."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
_START_SECONDS = 120
"""What a process may take to import what it needs, on a slow disk."""
# A forked child of a process with threads, as torch starts them, may hang; a spawned one cannot.
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Failure:
    """What became of a job without a result.

    Attributes:
        is_timeout: it took too long; else its process ended.
        detail: in words.
    """

    is_timeout: bool
    detail: str


class GuardedPool(Generic[Job, Result]):
    """Calls a function in processes.

    Args:
        work: what to do with a job; a function of a module, as it is imported in each process.
        num_workers: processes.
        timeout: seconds that a job may take.
    """

    def __init__(self, work: Callable[[Job], Result], num_workers: int, timeout: float) -> None:
        self.work = work
        self.num_workers = num_workers
        self.timeout = timeout

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | Failure]]:
        """Each job with its result, in the order in which they end. Takes a job only when a process is free.

        Raises:
            RuntimeError: a process could not begin.
        """
        waiting = iter(jobs)
        workers: list[_Worker] = []
        try:
            while True:
                self._hand_out(waiting, workers)
                if not workers:
                    return
                for worker in self._settled(workers):
                    if worker.outcome is not None:
                        yield worker.job, worker.outcome
                    if not worker.process.is_alive():
                        workers.remove(worker)
        finally:
            for worker in workers:
                worker.end()

    def _hand_out(self, waiting: Iterator[Job], workers: list["_Worker"]) -> None:
        """Give every free process a job, start processes while there are jobs, and end those without."""
        for worker in [worker for worker in workers if worker.is_free]:
            if not worker.take(waiting, self.timeout):
                worker.end()
                workers.remove(worker)
        while len(workers) < self.num_workers:
            worker = _Worker(self.work)
            if not worker.take(waiting, self.timeout):
                return
            workers.append(worker)

    def _settled(self, workers: list["_Worker"]) -> list["_Worker"]:
        """Those whose job has ended one way or the other, after waiting for one."""
        patience = max(0.0, min(worker.deadline for worker in workers) - time.monotonic())
        ready = wait([worker.connection for worker in workers], patience)
        for worker in workers:
            if worker.connection in ready:
                worker.receive()
            elif time.monotonic() >= worker.deadline:
                worker.outcome = Failure(is_timeout=True, detail=f"no result after {self.timeout:g} s")
                worker.end()
        return [worker for worker in workers if worker.outcome is not None]


class _Worker:
    """A process and the job it has. The process starts with its first job."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.job: Any = None
        self.outcome: Any = None
        self.deadline = 0.0
        self.timeout = 0.0
        self.has_started = False

    @property
    def is_free(self) -> bool:
        return self.outcome is not None

    def take(self, waiting: Iterator[Any], timeout: float) -> bool:
        """Begin the next job; False where there is none."""
        for self.job in waiting:
            if self.outcome is None:
                self._start()
            self.outcome = None
            self.timeout = timeout
            self.connection.send(self.job)
            self.deadline = time.monotonic() + timeout + (0 if self.has_started else _START_SECONDS)
            return True
        return False

    def _start(self) -> None:
        self.connection, other = _PROCESSES.Pipe()
        self.process = _PROCESSES.Process(target=_serve, args=(other, self.work), daemon=True)
        self.process.start()
        other.close()

    def receive(self) -> None:
        """Take the result, or see that the process has ended."""
        try:
            message = self.connection.recv()
            if self.has_started:
                self.outcome = message
            else:
                self.has_started = True
                self.deadline = time.monotonic() + self.timeout
        except (EOFError, ConnectionError):
            self.process.join()
            if not self.has_started:
                raise RuntimeError(f"a process ended with status {self.process.exitcode} before it began") from None
            self.outcome = Failure(False, f"the process that read it ended with status {self.process.exitcode}")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """What a process does until its parent is gone."""
    connection.send("ready")
    try:
        while True:
            connection.send(work(connection.recv()))
    except (EOFError, ConnectionError):
        return
