"""Which tensors Triton kernels take: those on a CUDA device, as torch's CUDA builds bring triton and others do not."""

from importlib.util import find_spec

from torch import Tensor

HAS_TRITON = find_spec("triton") is not None
DEVICE_TYPES = ("cuda",)


def runs_triton(tensor: Tensor) -> bool:
    """Whether a Triton kernel takes it; plain torch does otherwise."""
    return HAS_TRITON and tensor.device.type in DEVICE_TYPES
