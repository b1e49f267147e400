"""Where the tokens below a root stand while they attend: segments of about the same length in one padded grid."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Grid:
    """Segments of about the same length, one to a line.

    Attributes:
        tokens: (s, L) token of each cell, any in the padding.
        is_real: (s, L) which cells are no padding.
        seen: (s, C + L) tokens of the segments between the root and this one, then its own.
        hidden: (s, L, C + L) which of `seen` a cell does not see.
    """

    tokens: Tensor
    is_real: Tensor
    seen: Tensor
    hidden: Tensor

    @property
    def is_causal(self) -> bool:
        """Whether nothing stands between the root and these segments: then a cell sees all up to itself."""
        return self.seen.shape[1] == self.tokens.shape[1]


@dataclass(frozen=True)
class DescendantLayout:
    """Where the n tokens below a root stand in the grids; `cells` (n,) counts through all of them."""

    grids: tuple[Grid, ...]
    cells: Tensor


@lru_cache(maxsize=512)
def layout_descendants(lengths: tuple[int, ...], parents: tuple[int, ...], device: torch.device) -> DescendantLayout:
    """Grids of the segments below a root, whose `parents` are counted among them, negative for the root itself."""
    own = torch.arange(sum(lengths), device=device).split(lengths)
    between: list[Tensor] = []  # of each segment, the tokens between the root and it
    for parent in parents:
        between.append(torch.cat([between[parent], own[parent]]) if parent >= 0 else own[0][:0])
    cells = torch.empty(sum(lengths), dtype=torch.long, device=device)
    grids = []
    filled = 0
    for segments in _buckets(lengths):
        tokens, is_real = _padded([own[s] for s in segments])
        cells[tokens[is_real]] = filled + torch.nonzero(is_real.flatten()).flatten()
        filled += tokens.numel()
        grids.append(Grid(tokens, is_real, *_seen(tokens, [between[s] for s in segments])))
    return DescendantLayout(tuple(grids), cells)


def _buckets(lengths: tuple[int, ...]) -> list[list[int]]:
    """Segments, shortest first, none less than half as long as another of its bucket, to which it is padded."""
    buckets: list[list[int]] = []
    for segment in sorted(range(len(lengths)), key=lengths.__getitem__):
        if buckets and lengths[segment] <= 2 * lengths[buckets[-1][0]]:
            buckets[-1].append(segment)
        else:
            buckets.append([segment])
    return buckets


def _seen(tokens: Tensor, between: list[Tensor]) -> tuple[Tensor, Tensor]:
    """`seen` and `hidden` of a grid."""
    context, is_real = _padded(between)  # (s, C)
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    future = columns[:, None] < columns
    hidden = [~is_real[:, None].expand(-1, len(columns), -1), future.expand(len(tokens), -1, -1)]
    return torch.cat([context, tokens], 1), torch.cat(hidden, 2)


def _padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Token numbers of several segments as lines of equal length, and which of them are no padding."""
    ones = [torch.ones_like(part, dtype=torch.bool) for part in parts]
    return pad_sequence(parts, batch_first=True), pad_sequence(ones, batch_first=True)
