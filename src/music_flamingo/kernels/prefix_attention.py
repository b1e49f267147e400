"""Attention over a prefix tree: each token sees its own segment causally and all of its ancestor segments.

`prefix_attention` is the plain-torch reference and the CPU path. It never builds an N x N mask: per root, the
descendants' scores against the root, against the segments between and against themselves are computed apart and share
one softmax, so the keys and values of a song are read once for all that is said about it.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from music_flamingo.batch import PrefixTree


def prefix_attention(query: Tensor, key: Tensor, value: Tensor, tree: PrefixTree, scaling: float) -> Tensor:
    """Attend over the packed row.

    Args:
        query: (H, N, D).
        key: (H', N, D) with H a multiple of H' (grouped queries).
        value: (H', N, D).
        tree: layout of the row.
        scaling: factor on the scores.

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
        outputs.append(_causal(*root, scaling))
        if len(segments) > 1:
            first = segments[0]
            parents = tuple(max(tree.parents[s] - first - 1, -1) for s in segments[1:])
            layout = _descendant_layout(tuple(tree.lengths[s] for s in segments[1:]), parents, query.device)
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
class _Level:
    """Which segment each segment sees at one depth below the root, and which of its keys are hidden.

    `ancestors` is (s,), `hidden` (s, L, L).
    """

    ancestors: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class _Layout:
    """Where the n tokens below a root stand in a grid of s segments by L, the longest.

    `tokens` (s, L) names the token of each cell (the last of the segment, again, in the padding), `cells` (n,) the cell
    of each token in the flattened grid.
    """

    tokens: Tensor
    cells: Tensor
    levels: tuple[_Level, ...]


@lru_cache(maxsize=512)
def _descendant_layout(lengths: tuple[int, ...], parents: tuple[int, ...], device: torch.device) -> _Layout:
    sizes = torch.tensor(lengths, device=device)
    columns = torch.arange(int(sizes.max()), device=device)
    tokens = (sizes.cumsum(0) - sizes)[:, None] + torch.minimum(columns, sizes[:, None] - 1)
    cells = torch.nonzero((columns < sizes[:, None]).flatten()).flatten()

    future = (columns[:, None] < columns).expand(len(lengths), -1, -1)
    levels = [_Level(torch.arange(len(lengths), device=device), future)]
    ancestors = parents
    while any(a >= 0 for a in ancestors):
        index = torch.tensor([max(a, 0) for a in ancestors], device=device)
        visible = torch.tensor([lengths[a] if a >= 0 else 0 for a in ancestors], device=device)
        levels.append(_Level(index, (columns >= visible[:, None])[:, None].expand_as(future)))
        ancestors = tuple(parents[a] if a >= 0 else -1 for a in ancestors)
    return _Layout(tokens, cells, tuple(levels))


def _descendants(query: Tensor, key: Tensor, value: Tensor, prefix: _Prefix, layout: _Layout, scaling: float) -> Tensor:
    """Attention of all segments below one root: `query`, `key`, `value` and the result are (H, n, D)."""
    heads, _, width = query.shape
    grid_query = (query * scaling)[:, layout.tokens]  # (H, s, L, D)
    grid_key, grid_value = key[:, layout.tokens], value[:, layout.tokens]

    scores = [(grid_query.flatten(1, 2) @ prefix.key.transpose(1, 2)).unflatten(1, layout.tokens.shape)]
    for level in layout.levels:
        level_scores = grid_query @ grid_key[:, level.ancestors].transpose(2, 3)
        scores.append(level_scores.masked_fill(level.hidden, -torch.inf))
    widths = [s.shape[-1] for s in scores]
    weights = torch.cat(scores, -1).softmax(-1, dtype=torch.float32).to(query.dtype).split(widths, -1)

    output: Tensor = (weights[0].flatten(1, 2) @ prefix.value).unflatten(1, layout.tokens.shape)
    for weight, level in zip(weights[1:], layout.levels, strict=True):
        output = output + weight @ grid_value[:, level.ancestors]
    return output.reshape(heads, -1, width)[:, layout.cells]
