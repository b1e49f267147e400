from collections.abc import Iterator
from itertools import count

import pytest
import torch
from torch.profiler import profile

from music_flamingo import step_parts
from music_flamingo.step_parts import Range, part, time_parts


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Range]]:
    """Where parts are added, by a clock that ticks whenever it is read."""
    ticks = count(10)
    monkeypatch.setattr(step_parts.time, "perf_counter", lambda: float(next(ticks)))
    ranges: list[Range] = []
    time_parts(ranges)
    yield ranges
    time_parts(None)


@part("whole")
def work() -> str:
    with part("half"):
        pass
    return "done"


def test_parts_are_added_as_they_end(timed: list[Range]) -> None:
    assert work() == "done"
    assert timed == [Range("half", 11, 12), Range("whole", 10, 13)]
    assert timed[1].seconds == 3


def test_a_part_waits_for_the_device_before_it_reads_the_clock(
    timed: list[Range], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: waited.append(len(timed)))
    with part("one"):
        pass
    assert waited == [0, 0]


def test_nothing_is_measured_unless_somebody_asks(timed: list[Range], monkeypatch: pytest.MonkeyPatch) -> None:
    time_parts(None)
    monkeypatch.setattr(step_parts, "at_rest", lambda: pytest.fail("the clock was read"))
    work()
    assert timed == []


def test_a_part_that_fails_passes_its_error_on(timed: list[Range]) -> None:
    with pytest.raises(ZeroDivisionError), part("failing"):
        raise ZeroDivisionError
    assert timed == []


def test_parts_are_ranges_of_torchs_profiler() -> None:
    with profile() as recorded:
        work()
    names = [event.name for event in recorded.events()]
    assert names == ["part: whole", "part: half"]
