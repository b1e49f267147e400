"""How encoder outputs learn when they were heard: two ways to the same rotation, named in a recipe.

model: {class_path: music_flamingo.models.MusicFlamingo, init_args: {pretrained: DIR, time_embedding:
{class_path: music_flamingo.models.ExactRoTE}}}
"""

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor
from transformers import MusicFlamingoModel
from transformers.models.musicflamingo.modeling_musicflamingo import apply_rotary_time_emb

from music_flamingo.kernels.rote import RoTE, rotate

MEL_FRAMES_PER_TOKEN = 4


class TimeEmbedding(ABC):
    """Puts time into encoder outputs."""

    @abstractmethod
    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """Encoder outputs (W, F, D) of windows that stand at `indices` (W,) of their songs, with time."""


class CheckpointRoTE(TimeEmbedding):
    """Transformers' own tables, bit for bit: what released weights were converted with, and what loads an export."""

    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """See `TimeEmbedding`."""
        tick = MEL_FRAMES_PER_TOKEN * body.config.audio_frame_step
        frames = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.float32)
        starts = indices[:, None] * hidden.shape[1] * tick
        cos, sin = body.pos_emb(starts + frames * tick, seq_len=hidden.shape[1])
        return cast(Tensor, apply_rotary_time_emb(hidden, cos, sin))


class ExactRoTE(TimeEmbedding):
    """The same rotation without the rounding of float32 tables, and at a tenth of their cost on a CPU.

    The two differ by up to 7e-3 in a rotation at twenty minutes, by 1e-4 in a song's first half minute.
    """

    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """See `TimeEmbedding`."""
        config = body.config
        rope: dict[str, Any] = config.rope_parameters or {}
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        rote = RoTE(
            dim=int(head_dim * rope.get("partial_rotary_factor", 1.0)),
            theta=rope["rope_theta"],
            longest=config.max_position_embeddings,  # the name is transformers': it is RoTE's longest time in seconds
            tick=MEL_FRAMES_PER_TOKEN * config.audio_frame_step,
        )
        return rotate(hidden, indices, rote, in_place=not hidden.requires_grad)  # nobody else reads them
