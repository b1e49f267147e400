"""Where does a training step's time go? Some steps by the clock, part by part, then one under torch's profiler."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import torch
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities import rank_zero_only
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch.profiler import profile, schedule

from music_flamingo.callbacks.time_table import TimeRow, time_table
from music_flamingo.errors import UserError
from music_flamingo.step_parts import ProfileFinished, Range, at_rest, part, time_parts

TRACED_STEPS = 2
"""The first only lets torch's profiler start up."""
VIEWER = "https://ui.perfetto.dev"


class StepProfiler(Profiler):
    """Measures some steps of a fit, which it then ends by raising `ProfileFinished`: no checkpoint, no export.

    A step lasts from the end of one batch's update to the end of the next one's. Its parts are those that the stages
    and models name (`step_parts`), and what Lightning tells a profiler about: loading, backward, optimizer.

    Prints a table of the parts; leaves `trace.json`, and torch's table of operations in `operations.txt`. Those are of
    one step more, as recording every operation takes its own time.

    Args:
        folder: takes the files.
        warmup_steps: steps before, which are not measured.
        steps: steps to measure.

    Raises:
        UserError: no step to warm up, or none to measure.
    """

    def __init__(self, folder: str, warmup_steps: int = 3, steps: int = 5) -> None:
        super().__init__(dirpath=folder)
        if min(warmup_steps, steps) < 1:
            raise UserError(f"StepProfiler: expected at least 1 of warmup_steps and steps, got {warmup_steps}, {steps}")
        self.folder = Path(folder)
        self.warmup_steps = warmup_steps
        self.steps = steps
        self._ends: list[float] = []
        self._parts: list[Range] = []
        self._part: AbstractContextManager[None] | None = None
        self._trace = profile(
            schedule=schedule(wait=0, warmup=TRACED_STEPS - 1, active=1, repeat=1), on_trace_ready=self._write
        )

    @property
    def all_steps(self) -> int:
        """Steps a fit needs to be profiled."""
        return self.warmup_steps + self.steps + TRACED_STEPS

    def start(self, action_name: str) -> None:
        """See `Profiler.start`."""
        if len(self._ends) == self.all_steps:
            raise ProfileFinished
        match _hook(action_name):
            case "train_dataloader_next":
                self._begin("load row")
            case "batch_to_device":
                self._begin("copy row to device")
            case "on_after_backward":
                self._begin("optimizer")  # with clipping

    def stop(self, action_name: str) -> None:
        """See `Profiler.stop`."""
        match _hook(action_name):
            case "on_before_backward":
                self._begin("backward")
            case "train_dataloader_next" | "batch_to_device" | "optimizer_step":
                self._end()
            case "run_training_batch":
                self._end()  # a step that accumulates gradients has no optimizer step
                self._ends.append(at_rest())
                self._after_step(len(self._ends))

    def describe(self) -> None:
        """See `Profiler.describe`; Lightning calls it where a fit ends by itself.

        Raises:
            UserError: the fit ended before enough steps were profiled.
        """
        time_parts(None)
        raise UserError(
            f"a profile takes {self.all_steps} training steps, but the run ended after {len(self._ends)}: "
            "raise trainer.max_steps or max_epochs"
        )

    def _begin(self, name: str) -> None:
        self._end()
        self._part = part(name)
        self._part.__enter__()

    def _end(self) -> None:
        if self._part is not None:
            self._part.__exit__(None, None, None)
            self._part = None

    def _after_step(self, number: int) -> None:
        last_measured = self.warmup_steps + self.steps
        if number == self.warmup_steps:
            time_parts(self._parts)
        elif number == last_measured:
            time_parts(None)
            self._print()
            self._trace.start()
        elif number > last_measured:
            self._trace.step()

    @rank_zero_only
    def _print(self) -> None:
        ends = self._ends[self.warmup_steps - 1 :]
        steps = [Range("step", start, end) for start, end in pairwise(ends)]
        title = f"mean of {self.steps} steps after {self.warmup_steps} to warm up"
        Console().print("", _table(time_table(steps, self._parts), title), sep="\n")

    @rank_zero_only
    def _write(self, measured: profile) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        trace, operations = self.folder / "trace.json", self.folder / "operations.txt"
        measured.export_chrome_trace(str(trace))
        own_time = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        operations.write_text(measured.key_averages().table(sort_by=own_time, row_limit=100), encoding="utf-8")
        print(
            f"{trace}: one step, operation by operation; open it in {VIEWER}",
            f"{operations}: its operations by their own time",
            "the fit ends here, without checkpoint or export",
            sep="\n",
            flush=True,
        )


def _hook(action_name: str) -> str:
    """`[Strategy]DDPStrategy.batch_to_device` -> `batch_to_device`; "" for the hooks of callbacks."""
    return "" if action_name.startswith("[Callback]") else action_name.rpartition(".")[2]


def _table(rows: Sequence[TimeRow], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("part of a step", no_wrap=True)
    for name in ("seconds", "share", "calls"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        calls = "" if row.calls is None else f"{row.calls:g}"
        table.add_row("  " * row.depth + row.name, f"{row.seconds:.4f}", f"{row.share:.1%}", calls)
    table.add_row("step", f"{sum(row.seconds for row in rows if not row.depth):.4f}", "100.0%", "1")
    return table
