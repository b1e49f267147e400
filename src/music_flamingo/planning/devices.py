"""Which devices are known, and what are they capable of?

Peaks are those of dense bfloat16 products without sparsity, memory is what the driver reports as total.
"""

import os
import re
from dataclasses import dataclass

from music_flamingo.errors import UserError

GIB = 1024**3


@dataclass(frozen=True)
class Device:
    """One accelerator, or the processor and memory of this machine.

    Attributes:
        name: as it is asked for.
        memory: bytes that can be allocated.
        peak: FLOP/s of products of matrices, in bfloat16 on accelerators and in float32 on a CPU.
        bandwidth: of its memory, bytes/s.
        utilisation: share of `peak` that training is expected to reach.
        source: of the figures.
    """

    name: str
    memory: int
    peak: float
    bandwidth: float
    utilisation: float
    source: str

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"


@dataclass(frozen=True)
class DeviceGroup:
    """Equal devices that train together."""

    device: Device
    count: int


UTILISATION = 0.35
"""Llama-3.1-8B on 8 H100 with FSDP2 reaches 33 to 39 % of the peak (torchtitan, benchmarks/llama3_h100_202412)."""

ACCELERATORS = {
    "A100-80GB": Device("A100-80GB", 79 * GIB, 312e12, 2.039e12, UTILISATION, "NVIDIA A100 datasheet, SXM"),
    "H100-80GB": Device("H100-80GB", 79 * GIB, 989.4e12, 3.35e12, UTILISATION, "NVIDIA H100 datasheet, SXM5"),
    "H200": Device("H200", 140 * GIB, 989.4e12, 4.8e12, UTILISATION, "NVIDIA H200 datasheet, SXM"),
    "L40S": Device("L40S", 44 * GIB, 362.05e12, 0.864e12, UTILISATION, "NVIDIA L40S datasheet"),
    "RTX-4090": Device(
        "RTX-4090", 23 * GIB, 165.2e12, 1.008e12, UTILISATION, "NVIDIA Ada architecture whitepaper, float32 sums"
    ),
}
"""Memory is a GiB below the nominal one, or two where error correction takes a share."""
CORE_PEAK = 80e9
"""FLOP/s of a core with AVX2: two fused multiply-adds of 8 floats in each of 2.5e9 cycles."""
CPU_BANDWIDTH = 40e9
"""Two channels of DDR4-2666."""
GROUP = re.compile(r"(?:(\d+)x)?([A-Za-z].*)")


def parse_devices(text: str) -> DeviceGroup:
    """`8xH200`, `H200` or `cpu`.

    Raises:
        UserError: no such device, or none of them.
    """
    known = [*ACCELERATORS, "cpu"]
    match = GROUP.fullmatch(text)
    names = {name.lower(): name for name in known}
    if match is None or match[2].lower() not in names or int(match[1] or 1) < 1:
        raise UserError(f"--devices {text}: expected a number and a device such as 8xH200; known: {', '.join(known)}")
    name = names[match[2].lower()]
    return DeviceGroup(this_machine() if name == "cpu" else ACCELERATORS[name], int(match[1] or 1))


def this_machine() -> Device:
    """The processor and memory at hand; each process of several is thought to have all of both."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = CORE_PEAK * (os.cpu_count() or 1)
    return Device("cpu", memory, peak, CPU_BANDWIDTH, UTILISATION, "AVX2, DDR4-2666, this machine's memory")
