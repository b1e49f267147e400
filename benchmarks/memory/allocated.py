"""What a process allocates for tensors, from the profiler's record of every allocation: exact to the byte."""

import gc
from collections.abc import Iterable

from torch import Tensor
from torch.profiler import ProfilerActivity, profile

WATCHED = "music-flamingo-watched"
"""Name of the `record_function` around what is measured."""


def memory_profile() -> profile:
    """Records every allocation on the CPU from here on."""
    gc.collect()  # what an earlier profile recorded would otherwise be freed in this one, and count against it
    return profile(activities=[ProfilerActivity.CPU], profile_memory=True)


def peak_bytes(recorded: profile) -> int:
    """The most that existed at once while `WATCHED` ran, beside what was there before the profile began."""
    events = list(recorded.profiler.kineto_results.events())  # type: ignore[union-attr]
    watched = next(event for event in events if event.name() == WATCHED)
    allocations = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    size = peak = 0
    for moment, change in allocations:
        size += change
        if watched.start_ns() <= moment <= watched.end_ns():
            peak = max(peak, size)
    return peak


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Of tensors, shared storage once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
