"""Two paths through a kernel: plain torch, and Triton, compiled where there is a GPU and interpreted elsewhere."""

import pytest
import torch

from music_flamingo.kernels import triton_device


@pytest.fixture
def triton_path(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device whose tensors Triton takes during a test."""
    if not triton_device.HAS_TRITON:
        pytest.skip("triton is not installed; on Linux x86-64 `make setup` brings it")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(triton_device, "DEVICE_TYPES", (device.type,))
    return device


@pytest.fixture(params=["torch", "triton"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device for the test's tensors, first with plain torch and then with Triton to turn them."""
    return torch.device("cpu") if request.param == "torch" else request.getfixturevalue("triton_path")
