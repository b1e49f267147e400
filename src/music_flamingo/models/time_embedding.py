"""How encoder outputs learn when they were heard: two ways to the same rotation, and two ablations of it.

Named in a recipe. An ablation is recorded in the configuration of what it trained, so that it is loaded with it;
transformers itself always rotates by RoTE.

model: {class_path: music_flamingo.models.MusicFlamingo, init_args: {pretrained: DIR, time_embedding:
{class_path: music_flamingo.models.ExactRoTE}}}
"""

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor
from transformers import MusicFlamingoConfig, MusicFlamingoModel
from transformers.models.musicflamingo.modeling_musicflamingo import apply_rotary_time_emb

from music_flamingo.errors import UserError
from music_flamingo.kernels.rotary import rotate_heads
from music_flamingo.kernels.rote import RoTE, rotate

MEL_FRAMES_PER_TOKEN = 4


class TimeEmbedding(ABC):
    """Puts time into encoder outputs."""

    @abstractmethod
    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """Encoder outputs (W, F, D) of windows that stand at `indices` (W,) of their songs, with time."""

    def settings(self) -> dict[str, Any]:
        """What to record in a model's configuration; nothing for RoTE, which transformers means anyway."""
        return {}


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
        return rotate(hidden, indices, _rote(body), in_place=not hidden.requires_grad)  # nobody else reads them


class FrameRoPE(TimeEmbedding):
    """An ablation: RoPE by a frame's number in its song, on the channels that RoTE turns.

    Of these 4 K channels, k and k + 2 K turn by number * theta ** (-k / (2 K)) radians, as if they were a head of a
    language model.

    Args:
        theta: base of the frequencies. With 10,000 the slowest pair makes half a turn in twenty minutes.
    """

    def __init__(self, theta: float = 10_000.0) -> None:
        self.theta = theta

    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """See `TimeEmbedding`."""
        num_windows, num_frames, width = hidden.shape
        numbers = indices[:, None] * num_frames + torch.arange(num_frames, device=hidden.device)
        num_turning = 4 * _rote(body).num_pairs
        turning, staying = hidden.split([num_turning, width - num_turning], -1)
        turned = rotate_heads(turning.flatten(0, 1)[None], numbers.flatten(), self.theta)[0]
        return torch.cat([turned.unflatten(0, (num_windows, num_frames)), staying], -1)

    def settings(self) -> dict[str, Any]:
        return {"name": "FrameRoPE", "theta": self.theta}


class NoTimeEmbedding(TimeEmbedding):
    """An ablation: encoder outputs as they are, which know the time within their window and no other."""

    def embed(self, hidden: Tensor, indices: Tensor, body: MusicFlamingoModel) -> Tensor:
        """See `TimeEmbedding`."""
        return hidden

    def settings(self) -> dict[str, Any]:
        return {"name": "NoTimeEmbedding"}


def record_time_embedding(embedding: TimeEmbedding, config: MusicFlamingoConfig) -> None:
    """Write into a configuration how the model learns of time, where that is not transformers' way."""
    settings = embedding.settings()
    if settings or hasattr(config, "time_embedding"):
        config.time_embedding = settings


def recorded_time_embedding(config: MusicFlamingoConfig) -> TimeEmbedding:
    """The one a model was trained with.

    Raises:
        UserError: the configuration names none that there is.
    """
    settings = dict(getattr(config, "time_embedding", None) or {"name": "CheckpointRoTE"})
    name = settings.pop("name")
    kinds = {kind.__name__: kind for kind in (CheckpointRoTE, FrameRoPE, NoTimeEmbedding)}
    if name not in kinds:
        raise UserError(f"config.json: expected time_embedding.name to be one of {', '.join(kinds)}, got {name!r}")
    return kinds[name](**settings)


def _rote(body: MusicFlamingoModel) -> RoTE:
    """The constants of the model's configuration."""
    config = body.config
    rope: dict[str, Any] = config.rope_parameters or {}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return RoTE(
        dim=int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        theta=rope["rope_theta"],
        longest=config.max_position_embeddings,  # the name is transformers': it is RoTE's longest time in seconds
        tick=MEL_FRAMES_PER_TOKEN * config.audio_frame_step,
    )
