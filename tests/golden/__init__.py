"""Numbers that public implementations give on made-up weights and made-up audio, and the rules for both.

The arrays (`*.npz`) come from running the public code of MATPAC++, TinyMU, AF-CLAP and Audio Flamingo 2, in float32
on a CPU; every tensor of a checkpoint was drawn by `weight` from its published name.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def golden(name: str) -> Mapping[str, npt.NDArray[Any]]:
    """Arrays of one system by name."""
    return np.load(Path(__file__).parent / f"{name}.npz")  # type: ignore[no-any-return]


def weight(name: str, shape: tuple[int, ...], scale: float = 0.02) -> torch.Tensor:
    """A made-up parameter, the same wherever it is drawn: its name is the seed."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    drawn *= np.float32(scale)
    if name.endswith(".running_var"):
        drawn = 1 + abs(drawn)
    elif name.endswith(".weight") and len(shape) == 1:
        drawn = drawn + 1
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32))


def sound(seconds: float) -> npt.NDArray[np.float32]:
    """(S,) a held tone, a rising one and noise at 16 kHz; a shorter sound is the beginning of a longer one."""
    num_samples = round(seconds * 16_000)
    t = np.arange(num_samples) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.2 * np.sin(2 * np.pi * (330 + 15 * t) * t)
    return (tones + 0.05 * np.random.default_rng(0).standard_normal(num_samples)).astype(np.float32)
