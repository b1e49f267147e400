"""Attention token by token over what it sees, so that nothing hidden is computed and counted."""

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch


class AttentionByDefinition:
    """Of a row whose last layer may be asked for the tokens `read` (R,) alone."""

    def __init__(self, row: PackedBatch, read: Tensor) -> None:
        segments = range(len(row.tree.lengths))
        self.seen = [
            row.tree.row_positions(s)[: len(row.tree.row_positions(s)) - row.tree.lengths[s] + offset + 1]
            for s in segments
            for offset in range(row.tree.lengths[s])
        ]
        self.read = read.tolist()

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        groups = query.shape[0] // key.shape[0]
        key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
        tokens = range(key.shape[1]) if query.shape[1] == key.shape[1] else self.read
        attended = []
        for place, token in enumerate(tokens):
            seen = self.seen[token]
            scores = query[:, place : place + 1] @ key[:, seen].transpose(1, 2) * scaling
            attended.append(scores.softmax(-1) @ value[:, seen])
        return torch.cat(attended, 1)
