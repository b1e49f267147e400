"""Attention over a prefix tree: each token sees its own segment causally and all of its ancestor segments.

It never builds an N x N mask: per root, segments of about the same length stand in a grid whose scores against the
root, against the segments between and against themselves share one softmax, so the keys and values of a song are read
once for all that is said about it. On a CPU flash attention does the same without holding scores (`merged_attention`);
elsewhere plain torch does, which is also the reference.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.descendant_layout import DescendantLayout, Grid, layout_descendants
from music_flamingo.kernels.merged_attention import merged_attention


def prefix_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tree: PrefixTree,
    scaling: float,
    *,
    with_roots: bool = True,
    flash: bool | None = None,
) -> Tensor:
    """Attend over the packed row.

    Args:
        query: (H, N, D).
        key: (H', N, D) with H a multiple of H' (grouped queries).
        value: (H', N, D).
        tree: layout of the row.
        scaling: factor on the scores.
        with_roots: False where nobody reads what root tokens attend to; theirs is then 0.
        flash: attend by `merged_attention`, which never holds the scores; by default where it can, which is the CPU.

    Returns:
        (H, N, D).
    """
    descend = merged_attention if (query.device.type == "cpu" if flash is None else flash) else _descendants
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
            layout = layout_descendants(tuple(tree.lengths[s] for s in segments[1:]), parents, query.device)
            outputs.append(descend(*below, root[1], root[2], layout, scaling))
    return torch.cat(outputs, dim=1)


def _tokens_below(tree: PrefixTree, segments: range) -> int:
    return sum(tree.lengths[s] for s in segments[1:])


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    return scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True, scale=scaling)[0]


def _descendants(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    root_key: Tensor,
    root_value: Tensor,
    layout: DescendantLayout,
    scaling: float,
) -> Tensor:
    """Attention of all segments below one root; see `merged_attention`."""
    query = query * scaling
    outputs = [_attend(query, key, value, root_key, root_value, grid).flatten(1, 2) for grid in layout.grids]
    return torch.cat(outputs, 1)[:, layout.cells]


def _attend(query: Tensor, key: Tensor, value: Tensor, root_key: Tensor, root_value: Tensor, grid: Grid) -> Tensor:
    """(H, s, L, D) of the cells of one grid."""
    cells = query[:, grid.tokens]  # (H, s, L, D)
    to_root = (cells.flatten(1, 2) @ root_key.transpose(1, 2)).unflatten(1, grid.tokens.shape)
    to_seen = (cells @ key[:, grid.seen].transpose(2, 3)).masked_fill(grid.hidden, -torch.inf)
    weights = torch.cat([to_root, to_seen], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
    on_root, on_seen = weights.split([to_root.shape[-1], to_seen.shape[-1]], -1)
    from_root = (on_root.flatten(1, 2) @ root_value).unflatten(1, grid.tokens.shape)
    output: Tensor = from_root + on_seen @ value[:, grid.seen]
    return output
