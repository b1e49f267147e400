"""Attention over a prefix tree: each token sees its own segment causally and all of its ancestor segments.

`prefix_attention` is the plain-torch reference and the CPU path. It never builds an N x N mask: per root, segments of
about the same length stand in a grid whose scores against the root, against the segments between and against themselves
share one softmax, so the keys and values of a song are read once for all that is said about it.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from music_flamingo.batch import PrefixTree


def prefix_attention(
    query: Tensor, key: Tensor, value: Tensor, tree: PrefixTree, scaling: float, *, with_roots: bool = True
) -> Tensor:
    """Attend over the packed row.

    Args:
        query: (H, N, D).
        key: (H', N, D) with H a multiple of H' (grouped queries).
        value: (H', N, D).
        tree: layout of the row.
        scaling: factor on the scores.
        with_roots: False where nobody reads what root tokens attend to; theirs is then 0.

    Returns:
        (H, N, D).
    """
    groups = query.shape[0] // key.shape[0]
    key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    sizes = [size for segments in tree.trees() for size in (tree.lengths[segments[0]], _tokens_below(tree, segments))]
    # Split, not sliced: the backward of N slices would fill and add N whole rows of zeros.
    parts = iter(zip(query.split(sizes, 1), key.split(sizes, 1), value.split(sizes, 1), strict=True))
    outputs = []
    for segments in tree.trees():
        root, below = next(parts), next(parts)
        outputs.append(_causal(*root, scaling) if with_roots else torch.zeros_like(root[0]))
        if len(segments) > 1:
            first = segments[0]
            parents = tuple(tree.parents[s] - first - 1 for s in segments[1:])
            layout = _layout(tuple(tree.lengths[s] for s in segments[1:]), parents, query.device)
            outputs.append(_descendants(*below, _Prefix(root[1], root[2]), layout, scaling))
    return torch.cat(outputs, dim=1)


def _tokens_below(tree: PrefixTree, segments: range) -> int:
    return sum(tree.lengths[s] for s in segments[1:])


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    return scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True, scale=scaling)[0]


@dataclass(frozen=True)
class _Prefix:
    """Keys and values (H, r, D) of a root."""

    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class _Grid:
    """Segments of about the same length, one to a line.

    Attributes:
        tokens: (s, L) token of each cell, any in the padding.
        seen: (s, C + L) tokens of the segments between the root and this one, then its own.
        hidden: (s, L, C + L) which of `seen` a cell does not see.
    """

    tokens: Tensor
    seen: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class _Layout:
    """Where the n tokens below a root stand in the grids; `cells` (n,) counts through all of them."""

    grids: tuple[_Grid, ...]
    cells: Tensor


@lru_cache(maxsize=512)
def _layout(lengths: tuple[int, ...], parents: tuple[int, ...], device: torch.device) -> _Layout:
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
        grids.append(_Grid(tokens, *_seen(tokens, [between[s] for s in segments])))
    return _Layout(tuple(grids), cells)


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


def _descendants(query: Tensor, key: Tensor, value: Tensor, prefix: _Prefix, layout: _Layout, scaling: float) -> Tensor:
    """Attention of all segments below one root: `query`, `key`, `value` and the result are (H, n, D)."""
    query = query * scaling
    outputs = [_attend(query, key, value, prefix, grid).flatten(1, 2) for grid in layout.grids]
    return torch.cat(outputs, 1)[:, layout.cells]


def _attend(query: Tensor, key: Tensor, value: Tensor, prefix: _Prefix, grid: _Grid) -> Tensor:
    """(H, s, L, D) of the cells of one grid."""
    cells = query[:, grid.tokens]  # (H, s, L, D)
    to_prefix = (cells.flatten(1, 2) @ prefix.key.transpose(1, 2)).unflatten(1, grid.tokens.shape)
    to_seen = (cells @ key[:, grid.seen].transpose(2, 3)).masked_fill(grid.hidden, -torch.inf)
    weights = torch.cat([to_prefix, to_seen], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
    on_prefix, on_seen = weights.split([to_prefix.shape[-1], to_seen.shape[-1]], -1)
    from_prefix = (on_prefix.flatten(1, 2) @ prefix.value).unflatten(1, grid.tokens.shape)
    output: Tensor = from_prefix + on_seen @ value[:, grid.seen]
    return output
