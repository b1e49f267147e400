"""Which sizes a network has, told by the shapes of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from music_flamingo.errors import UserError


@dataclass(frozen=True)
class HeadWidths:
    """Widths of attention heads, which no shape tells; None for the published one.

    Attributes:
        audio: of the part that hears.
        text: of the language model.
    """

    audio: int | None = None
    text: int | None = None


@dataclass(frozen=True)
class Converted:
    """A published checkpoint as transformers' models have it.

    Attributes:
        config: its sizes.
        weights: its tensors under our names.
        left_out: published names of tensors that are other tensors' aliases, or that the model does not use.
        assumed: what no shape tells, in words.
    """

    config: PreTrainedConfig
    weights: dict[str, Tensor]
    left_out: list[str]
    assumed: str


def size(weights: Mapping[str, Tensor], name: str, dimension: int = 0) -> int:
    """One dimension of a tensor.

    Raises:
        UserError: there is no such tensor, or it has fewer dimensions.
    """
    if name not in weights:
        raise UserError(f"expected the tensor {name}, which tells a size, got none: give another file")
    shape = tuple(weights[name].shape)
    if not -len(shape) <= dimension < len(shape):
        raise UserError(f"expected {name} with a size in dimension {dimension}, got the shape {shape}")
    return shape[dimension]


def numbered(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many modules there are, of names such as `layers.0.norm.weight` for the prefix `layers.`."""
    number = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match[1] for name in weights if (match := number.match(name))})


def num_heads(width: int, head_dim: int, remedy: str) -> int:
    """Heads of a projection.

    Args:
        width: of all heads.
        head_dim: of one.
        remedy: what to do where the heads do not fill the width.

    Raises:
        UserError: the heads do not fill the width.
    """
    if head_dim < 1 or width < head_dim or width % head_dim:
        raise UserError(f"expected heads that fill a width of {width}, got heads of {head_dim}: {remedy}")
    return width // head_dim


def decoder_sizes(weights: Mapping[str, Tensor], head_dim: int, layer: str = "") -> dict[str, Any]:
    """Sizes of a Llama or Qwen2, as their configurations call them.

    Args:
        weights: of the model without its head.
        head_dim: width of a head.
        layer: what stands in names between a layer's number and the layer's own parts.

    Raises:
        UserError: a tensor is missing, or there are no such heads.
    """
    first = f"layers.0.{layer}"
    hidden = size(weights, "embed_tokens.weight", 1)
    heads, key_value_heads = (
        num_heads(size(weights, f"{first}self_attn.{name}_proj.weight"), head_dim, "give --text-head-dim")
        for name in "qk"
    )
    if hidden % heads or heads % key_value_heads:
        raise UserError(
            f"expected heads that share {key_value_heads} heads of keys and a width of {hidden} evenly, got {heads} of "
            f"{head_dim}: give --text-head-dim"
        )
    return {
        "vocab_size": size(weights, "embed_tokens.weight"),
        "hidden_size": hidden,
        "intermediate_size": size(weights, f"{first}mlp.gate_proj.weight"),
        "num_hidden_layers": numbered(weights, "layers."),
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    }
