"""Which part of a training step is running? Named ranges, which `music-flamingo fit --profile` adds up.

    with part("projector"):
        ...

While nobody measures, entering and leaving a part costs about a microsecond.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch.profiler import record_function


@dataclass(frozen=True)
class Range:
    """Something that ran from `start` to `end`, in seconds."""

    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


class ProfileFinished(Exception):  # noqa: N818  nothing went wrong
    """Enough steps are profiled; the fit that raises it goes no further."""


_timed: ContextVar[list[Range] | None] = ContextVar("timed parts", default=None)


def time_parts(ranges: list[Range] | None) -> None:
    """From here on add every part of this thread that ends to `ranges`; None stops that."""
    _timed.set(ranges)


@contextmanager
def part(name: str) -> Iterator[None]:
    """What runs inside belongs to the part `name`, and to the parts around it.

    A part that is measured begins and ends with the device at rest, so that its seconds are those of the kernels it
    started. It is also a range of torch's profiler.
    """
    ranges = _timed.get()
    # Asked first, as `record_function` costs ten microseconds also where no profiler records.
    if ranges is None and not torch.autograd.profiler._is_profiler_enabled:
        yield
        return
    start = at_rest()
    with record_function(f"part: {name}"):
        yield
        end = at_rest()
    if ranges is not None:
        ranges.append(Range(name, start, end))


def at_rest() -> float:
    """The clock's seconds once the device has done all that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
