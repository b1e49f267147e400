"""How two ways of doing the same are compared: in one run, by turns, in the CPU seconds of this process."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def process_seconds(run: Callable[[], object]) -> float:
    """CPU seconds that this process takes for it."""
    start = time.process_time()
    run()
    return time.process_time() - start


def paired_seconds(
    baseline: Callable[[], Result],
    ours: Callable[[], Result],
    repeats: int = 5,
    *,
    warm_up: bool = True,
    require_same: Callable[[Result, Result], object] | None = None,
) -> tuple[float, float]:
    """Median CPU seconds of each; they run by turns, so that a slower moment of the machine meets both.

    Args:
        baseline: what is used today.
        ours: what this project does instead.
        repeats: turns that count.
        warm_up: run each once before, to fill caches.
        require_same: stops unless the results of the first turn agree.
    """
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + warm_up):
        results = []
        for seconds, run in zip(took, (baseline, ours), strict=True):
            start = time.process_time()
            results.append(run())
            if turn >= warm_up:
                seconds.append(time.process_time() - start)
        if require_same is not None and turn == 0:
            require_same(*results)
    return statistics.median(took[0]), statistics.median(took[1])


def memory_and_seconds(run: Callable[[], object]) -> dict[str, float]:
    """MiB that `run` adds to this process' peak, and its CPU seconds.

    Right only where the process holds, when `run` begins, as much as it ever did.
    """
    before, start = _peak_mib(), time.process_time()
    run()
    return {"mib": _peak_mib() - before, "seconds": time.process_time() - start}


def _peak_mib() -> float:
    # getrusage would count what the parent process held when it started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def in_own_process(module: str, *arguments: str) -> dict[str, float]:
    """What `python -m module arguments` prints last, as JSON."""
    measured: dict[str, float] = json.loads(printed_in_own_process(module, *arguments)[-1])
    return measured


def printed_in_own_process(module: str, *arguments: str) -> list[str]:
    """Lines that `python -m module arguments` prints."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
