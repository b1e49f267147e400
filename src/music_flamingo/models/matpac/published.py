"""Weights under the names of the published MATPAC++ checkpoints, and under ours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.models.matpac.configuration import MatpacConfig
from music_flamingo.models.published_names import first_names, thirds
from music_flamingo.models.published_sizes import Converted, HeadWidths, num_heads, numbered, size

HEAD_DIM = 64
_NAMES = {
    "cls_token": "class_token",
    "pos_embed": "positions",
    "patch_embed.proj": "patch_embedding",
    "student_encoder.norm": "norm",
}
_LAYER_NAMES = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_LAYER = re.compile(r"student_encoder\.blocks\.(\d+)\.(.+)")
NOT_USED = re.compile(r"(log_mel|head|head_norm|probe)\..*")
"""Filters that we compute, and classifiers behind the encoder."""


def converted(published: Mapping[str, Tensor], heads: HeadWidths) -> Converted:
    """A published encoder for `MatpacModel`.

    Raises:
        UserError: a name that no such checkpoint has, or one that is missing to tell the sizes.
    """
    weights = renamed(published)
    head_dim = heads.audio or HEAD_DIM
    left_out = sorted(filter(NOT_USED.fullmatch, published))
    return Converted(configured(weights, head_dim), weights, left_out, f"{head_dim} wide heads")


def configured(weights: Mapping[str, Tensor], head_dim: int) -> MatpacConfig:
    """Sizes of a `MatpacModel` with such weights, which hears 80 mel bands as the published ones do.

    Raises:
        UserError: a tensor is missing, or the sizes do not fit.
    """
    width, patch = size(weights, "class_token", -1), size(weights, "patch_embedding.weight", -1)
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "patch_size": patch,
        "num_hidden_layers": numbered(weights, "layers."),
        "num_attention_heads": num_heads(width, head_dim, "give --audio-head-dim"),
        "intermediate_size": size(weights, "layers.0.mlp.fc1.weight"),
    }
    bands = MatpacConfig.num_mel_bins // patch
    steps, rest = divmod(size(weights, "positions", 1) - 1, max(1, bands))
    if rest or not steps:
        raise UserError(
            f"expected positions of {bands} bands and of the class token, got {1 + steps * bands + rest} rows of "
            "pos_embed: give another file"
        )
    return MatpacConfig(**sizes, window_frames=steps * patch)


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint's encoder as `MatpacModel` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in published.items():
        if NOT_USED.fullmatch(name):
            continue
        found = dict(_renamed(name, tensor))
        ours.update(found)
        unknown += [] if found else [name]
    if unknown:
        raise UserError(f"expected a MATPAC++ checkpoint, got the names {first_names(unknown)}: give another file")
    return ours


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _NAMES:
        yield _NAMES[name], tensor
        return
    module, _, field = name.rpartition(".")
    if module in _NAMES:
        yield f"{_NAMES[module]}.{field}", tensor
        return
    found = _LAYER.fullmatch(module)
    if found is None:
        return
    layer = f"layers.{found[1]}"
    if found[2] == "attn.qkv":
        for part, piece in zip("qkv", thirds(name, tensor), strict=True):
            yield f"{layer}.attention.{part}_proj.{field}", piece
    elif found[2] in _LAYER_NAMES:
        yield f"{layer}.{_LAYER_NAMES[found[2]]}.{field}", tensor
