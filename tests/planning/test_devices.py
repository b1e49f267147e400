import os

import pytest

from music_flamingo.errors import UserError
from music_flamingo.planning.devices import ACCELERATORS, DeviceGroup, parse_devices


@pytest.mark.parametrize(
    ("text", "name", "count"), [("8xH200", "H200", 8), ("h100-80gb", "H100-80GB", 1), ("2xRTX-4090", "RTX-4090", 2)]
)
def test_devices_are_a_number_and_a_name(text: str, name: str, count: int) -> None:
    assert parse_devices(text) == DeviceGroup(ACCELERATORS[name], count)


def test_a_cpu_has_this_machines_memory_and_cores() -> None:
    device = parse_devices("cpu").device
    with open("/proc/meminfo", encoding="utf-8") as lines:
        kibibytes = int(next(lines).split()[1])
    assert device.memory == pytest.approx(1024 * kibibytes, rel=0.01)
    assert device.peak == 80e9 * (os.cpu_count() or 1)


@pytest.mark.parametrize("text", ["8xB300", "0xH200", "8", "", "x8"])
def test_an_unknown_device_is_told_beside_those_that_are_known(text: str) -> None:
    with pytest.raises(UserError, match=r"known: A100-80GB, H100-80GB, H200, L40S, RTX-4090, cpu"):
        parse_devices(text)
