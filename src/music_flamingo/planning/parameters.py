"""How many parameters does a model have, part by part, and which of them are trained? No weight is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from transformers import MusicFlamingoConfig, MusicFlamingoForConditionalGeneration, PreTrainedConfig

from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration

PARTS = ("encoder", "projector", "layers", "embedding", "head")
_NETWORKS: dict[type[PreTrainedConfig], Callable[[Any], nn.Module]] = {
    MusicFlamingoConfig: MusicFlamingoForConditionalGeneration,
    TinyMUConfig: TinyMUForConditionalGeneration,
    AudioFlamingo2Config: AudioFlamingo2ForConditionalGeneration,
}


@dataclass
class Count:
    """Numbers in the tensors of a part.

    Attributes:
        trained: that learn.
        frozen: that do not.
        matrices: of both, in what has two or more dimensions.
    """

    trained: int = 0
    frozen: int = 0
    matrices: int = 0

    @property
    def all(self) -> int:
        return self.trained + self.frozen


@dataclass
class Parameters:
    """Of a model: `encoder`, `projector` (whatever stands between), `layers` of the decoder, `embedding`, `head`.

    A head that is the embedding counts once, as embedding.
    """

    parts: dict[str, Count] = field(default_factory=lambda: {part: Count() for part in PARTS})

    def __getitem__(self, part: str) -> Count:
        return self.parts[part]

    @property
    def trained(self) -> int:
        return sum(count.trained for count in self.parts.values())

    @property
    def frozen(self) -> int:
        return sum(count.frozen for count in self.parts.values())

    @property
    def all(self) -> int:
        return self.trained + self.frozen


def meta_network(config: PreTrainedConfig) -> nn.Module:
    """The network of a configuration, on the meta device: shapes without storage."""
    with torch.device("meta"):
        network: Any = _NETWORKS[type(config)](config)
    network.tie_weights()
    if isinstance(config, MusicFlamingoConfig):
        network.model.audio_tower.embed_positions.requires_grad_(False)
    return cast(nn.Module, network)


def known_kinds() -> Sequence[str]:
    """Types of models, as their configurations call them."""
    return [each.model_type for each in _NETWORKS]


def is_known(config: PreTrainedConfig) -> bool:
    """Whether there is a network for it."""
    return type(config) in _NETWORKS


def count_parameters(network: nn.Module) -> Parameters:
    """Each tensor once."""
    parameters = Parameters()
    for name, tensor in network.named_parameters():
        count = parameters[part_of(name)]
        count.trained += tensor.numel() if tensor.requires_grad else 0
        count.frozen += 0 if tensor.requires_grad else tensor.numel()
        count.matrices += tensor.numel() if tensor.dim() > 1 else 0
    return parameters


def part_of(name: str) -> str:
    """Where a parameter belongs, by its name in transformers' model."""
    if ".audio_tower." in f".{name}":
        return "encoder"
    if "multi_modal_projector" in name or "audio_transform" in name or "cross_attention" in name:
        return "projector"
    if "language_model.layers." in name:
        return "layers"
    return "head" if name.startswith("lm_head") else "embedding"
