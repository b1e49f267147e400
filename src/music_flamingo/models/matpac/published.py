"""Weights under the names of the published MATPAC++ checkpoints, and under ours."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from music_flamingo.errors import UserError

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
_NOT_USED = re.compile(r"(log_mel|head|head_norm|probe)\..*")
"""Filters that we compute, and classifiers behind the encoder."""


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint's encoder as `MatpacModel` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in published.items():
        if _NOT_USED.fullmatch(name):
            continue
        found = dict(_renamed(name, tensor))
        ours.update(found)
        unknown += [] if found else [name]
    if unknown:
        raise UserError(
            f"expected a MATPAC++ checkpoint, got the names {', '.join(unknown[:5])}"
            f"{f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''}: give another file"  # noqa: PLR2004
        )
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
        for part, piece in zip("qkv", torch.chunk(tensor, 3), strict=True):
            yield f"{layer}.attention.{part}_proj.{field}", piece
    elif found[2] in _LAYER_NAMES:
        yield f"{layer}.{_LAYER_NAMES[found[2]]}.{field}", tensor
