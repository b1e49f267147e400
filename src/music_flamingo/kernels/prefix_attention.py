"""Attention over a prefix tree: each token sees its own segment causally and all of its ancestor segments.

No N x N mask and no copy of a song's keys: a token attends to its root and to what stands below it apart (`RowLayout`),
and the two are merged by the log-sum-exp z of their scores,

    out = out_root * exp(z_root - z) + out_own * exp(z_own - z),    z = log(exp(z_root) + exp(z_own)).

On a CPU both are flash attention, which holds no scores. Of the softmax its backward needs only z and `out`: given the
merged ones, it returns for either stretch the gradients of attention over both. Elsewhere plain torch does the same,
which is also the reference.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.row_layout import Grid, RowLayout, layout_row

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


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
        flash: attend by flash attention, by default where it is at hand, which is the CPU.

    Returns:
        (H, N, D).
    """
    layout = layout_row(tree, query.device)
    if not with_roots:
        layout = RowLayout(tuple(grid for grid in layout.own if not grid.is_root), layout.roots)
    # By token from here on, as the projections leave them: what a cell gathers is then one piece of memory.
    query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    if query.device.type == "cpu" if flash is None else flash:
        output: Tensor = _FlashAttention.apply(query, key, value, layout, scaling)  # type: ignore[no-untyped-call]
    else:
        output = _merged(query, key, value, layout, scaling, _plain_attention)[0]
    return output.transpose(0, 1)


class _Attention(Protocol):
    """Attention (s, H, L, D) of a grid's queries over keys and values (s, H, K, D), and its log-sum-exp (s, H, L)."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float
    ) -> tuple[Tensor, Tensor]: ...


def _merged(
    query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scaling: float, attend: _Attention
) -> tuple[Tensor, Tensor]:
    """Attention (N, H, D) over both stretches, and the log-sum-exp (N, H) of its scores."""
    heads = query.shape[1]

    def stretch(grids: Sequence[Grid], without: float) -> tuple[Tensor, Tensor]:
        precise = torch.promote_types(query.dtype, torch.float32)
        output, lse = query.new_zeros(query.shape), query.new_full(query.shape[:2], without, dtype=precise)
        for grid in grids:
            seen = _cells(key, grid.seen, heads), _cells(value, grid.seen, heads)
            part, part_lse = attend(_cells(query, grid.tokens), *seen, grid, scaling)
            output.index_copy_(0, grid.real_tokens, _real(part, grid))
            lse.index_copy_(0, grid.real_tokens, _real(part_lse[..., None], grid)[..., 0])
        return output, lse

    own, own_lse = stretch(layout.own, 0.0)
    of_root, root_lse = stretch(layout.roots, -torch.inf)
    lse = torch.logaddexp(own_lse, root_lse)
    own_share, root_share = (torch.exp(part - lse).to(query.dtype)[..., None] for part in (own_lse, root_lse))
    return own * own_share + of_root * root_share, lse


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float) -> tuple[Tensor, Tensor]:
    scores = (query @ key.transpose(2, 3)).to(torch.promote_types(query.dtype, torch.float32)) * scaling
    mask = torch.full_like(scores[0, 0], -torch.inf).triu(1) if grid.is_causal else _mask(grid, scores.dtype)
    scores = scores if mask is None else scores + mask
    return scores.softmax(-1).to(query.dtype) @ value, scores.logsumexp(-1)


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float) -> tuple[Tensor, Tensor]:
    output, lse = _FLASH(query, key, value, is_causal=grid.is_causal, attn_mask=_mask(grid, query.dtype), scale=scaling)
    return output, lse


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scaling: float) -> Tensor:
        output, lse = _merged(query, key, value, layout, scaling, _flash_attention)
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.layout, ctx.scaling = layout, scaling
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, lse = ctx.saved_tensors
        heads = query.shape[1]
        to_query, to_key, to_value = (each.new_zeros(each.shape) for each in (query, key, value))
        for grid in (*ctx.layout.own, *ctx.layout.roots):
            to_output = _cells(gradient, grid.tokens)
            if grid.real_cells is not None:
                # Padding cells repeat a real token's query: without a gradient they give none to what they see.
                to_output = to_output * grid.is_real[:, None, :, None]
            to_cells, to_seen_key, to_seen_value = _FLASH_BACKWARD(
                *(to_output, _cells(query, grid.tokens)),
                *(_cells(key, grid.seen, heads), _cells(value, grid.seen, heads)),
                *(_cells(output, grid.tokens), _cells(lse[..., None], grid.tokens)[..., 0]),
                *(0.0, grid.is_causal),
                attn_mask=_mask(grid, query.dtype),
                scale=ctx.scaling,
            )
            to_query.index_add_(0, grid.real_tokens, _real(to_cells, grid))
            to_key.index_add_(0, grid.seen.flatten(), _shared(to_seen_key, key.shape[1]))
            to_value.index_add_(0, grid.seen.flatten(), _shared(to_seen_value, value.shape[1]))
        return to_query, to_key, to_value, None, None


def _cells(tokens: Tensor, index: Tensor, heads: int | None = None) -> Tensor:
    """(N, H', X) at (s, L) places -> (s, H, L, X), each of H' heads H/H' times over."""
    cells: Tensor = tokens.index_select(0, index.flatten()).unflatten(0, index.shape).transpose(1, 2)
    groups = (heads or cells.shape[1]) // cells.shape[1]
    return cells[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2)


def _real(cells: Tensor, grid: Grid) -> Tensor:
    """(s, H, L, X) -> (R, H, X)."""
    flat: Tensor = cells.transpose(1, 2).flatten(0, 1)
    return flat if grid.real_cells is None else flat.index_select(0, grid.real_cells)


def _shared(cells: Tensor, heads: int) -> Tensor:
    """Gradients (s, H, K, X) -> (s K, H', X), summed over the queries' heads that share a head."""
    summed: Tensor = cells.unflatten(1, (heads, -1)).sum(2)
    return summed.transpose(1, 2).flatten(0, 1)


def _mask(grid: Grid, dtype: torch.dtype) -> Tensor | None:
    """(s, 1, L, K) to add to the scores; None where nothing but the future is hidden."""
    if grid.hidden is None:
        return None
    zeros = torch.zeros(grid.hidden.shape, dtype=dtype, device=grid.hidden.device)
    return zeros.masked_fill_(grid.hidden, -torch.inf)[:, None]
