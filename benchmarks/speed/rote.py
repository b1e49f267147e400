"""RoTE of ten minutes of audio at Music Flamingo's width, against transformers' tables and float64 rotation."""

import math
from collections.abc import Iterator

import torch
from transformers import MusicFlamingoConfig
from transformers.models.musicflamingo.modeling_musicflamingo import (
    MusicFlamingoRotaryEmbedding,
    apply_rotary_time_emb,
)

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from music_flamingo.kernels.rote import RoTE, rotate

NUM_WINDOWS, NUM_FRAMES, WIDTH = 20, 750, 1280


def claims() -> Iterator[Claim]:
    """Time both ways, ours in place as behind a frozen encoder; the setting says how far it is from float64 angles."""
    hidden = torch.randn(NUM_WINDOWS, NUM_FRAMES, WIDTH)
    windows = torch.arange(NUM_WINDOWS)
    seconds = (windows[:, None] * NUM_FRAMES + torch.arange(NUM_FRAMES)) * 0.04
    tables = MusicFlamingoRotaryEmbedding(MusicFlamingoConfig())
    rote = RoTE(dim=len(tables.inv_freq) * 2)

    def baseline() -> object:
        return apply_rotary_time_emb(hidden, *tables(seconds, seq_len=NUM_FRAMES))

    took = paired_seconds(baseline, lambda: rotate(hidden, windows, rote, in_place=True), repeats=15)
    setting = f"{NUM_WINDOWS} windows x {NUM_FRAMES} x {WIDTH}, error {_largest_error(rote, windows):.1e}"
    yield Claim("RoTE", setting, "transformers: float32 tables, float64 rotation", *took, 10)


def _largest_error(rote: RoTE, windows: torch.Tensor) -> float:
    """Of the rotation, against float64 angles."""
    window, frame = windows.double()[:, None, None], torch.arange(NUM_FRAMES).double()[:, None]
    frequency = rote.theta ** (-2 * torch.arange(rote.num_pairs).double() / rote.dim)
    turns = (window * NUM_FRAMES + frame) * rote.tick / rote.longest * frequency
    true = -2 * math.pi * torch.cat([turns * window, turns * frame * 2 * math.pi], -1)
    angles = rote.angles(windows, NUM_FRAMES).double()
    return float((torch.complex(angles.cos(), angles.sin()) - torch.complex(true.cos(), true.sin())).abs().max())
