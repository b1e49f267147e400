"""Attention below a root as two flash calls: over the root's keys and over the segments', merged by log-sum-exp.

With z the log-sum-exp of a token's scores, softmax over both stretches of keys is

    out = out_root * exp(z_root - z) + out_own * exp(z_own - z),    z = log(exp(z_root) + exp(z_own)).

Of the softmax, the backward of flash attention needs only z and `out`. Given the merged ones, it returns for either
stretch the gradients of attention over both, so no score is held for it. The root's keys are read as they are, once for
all segments below it.
"""

from typing import Any

import torch
from torch import Tensor

from music_flamingo.kernels.descendant_layout import DescendantLayout, Grid

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def merged_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    root_key: Tensor,
    root_value: Tensor,
    layout: DescendantLayout,
    scaling: float,
) -> Tensor:
    """Attention of all segments below one root, on a CPU.

    Args:
        query: (H, n, D) of the tokens below the root.
        key: (H, n, D).
        value: (H, n, D).
        root_key: (H, r, D).
        root_value: (H, r, D).
        layout: of the n tokens.
        scaling: factor on the scores.

    Returns:
        (H, n, D).
    """
    output: Tensor = _MergedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, root_key, root_value, layout, scaling
    )
    return output


class _MergedAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        root_key: Tensor,
        root_value: Tensor,
        layout: DescendantLayout,
        scaling: float,
    ) -> Tensor:
        over_root, root_lse = (part[0] for part in _FLASH(query[None], root_key[None], root_value[None], scale=scaling))
        parts = [_attend(query, key, value, grid, scaling) for grid in layout.grids]
        own = _tokens([output for output, _ in parts], layout)
        own_lse = _tokens([lse for _, lse in parts], layout)[..., 0]
        lse = torch.logaddexp(root_lse, own_lse)
        root_share, own_share = (torch.exp(part - lse).to(query.dtype)[..., None] for part in (root_lse, own_lse))
        output: Tensor = over_root * root_share + own * own_share
        ctx.save_for_backward(query, key, value, root_key, root_value, output, lse)
        ctx.layout, ctx.scaling = layout, scaling
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, root_key, root_value, output, lse = ctx.saved_tensors
        by_root = (gradient[None], query[None], root_key[None], root_value[None], output[None], lse[None])
        to_query, to_root_key, to_root_value = (g[0] for g in _FLASH_BACKWARD(*by_root, 0.0, False, scale=ctx.scaling))
        to_key, to_value = torch.zeros_like(key), torch.zeros_like(value)
        parts = []
        for grid in ctx.layout.grids:
            to_cells, to_seen_key, to_seen_value = _FLASH_BACKWARD(
                # Padding cells repeat a real token's query: without a gradient they give none to what they see.
                _cells(gradient, grid.tokens) * grid.is_real[:, None, :, None],
                *(_cells(query, grid.tokens), _cells(key, grid.seen), _cells(value, grid.seen)),
                *(_cells(output, grid.tokens), _cells(lse[..., None], grid.tokens)[..., 0]),
                *(0.0, grid.is_causal),
                attn_mask=_mask(grid, query),
                scale=ctx.scaling,
            )
            parts.append(to_cells)
            to_key.index_add_(1, grid.seen.flatten(), to_seen_key.transpose(0, 1).flatten(1, 2))
            to_value.index_add_(1, grid.seen.flatten(), to_seen_value.transpose(0, 1).flatten(1, 2))
        return to_query + _tokens(parts, ctx.layout), to_key, to_value, to_root_key, to_root_value, None, None


def _attend(query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float) -> tuple[Tensor, Tensor]:
    """Attention (s, H, L, D) of a grid's cells over what they see below the root, and its log-sum-exp (s, H, L, 1)."""
    lines = _cells(query, grid.tokens), _cells(key, grid.seen), _cells(value, grid.seen)
    output, lse = _FLASH(*lines, is_causal=grid.is_causal, attn_mask=_mask(grid, query), scale=scaling)
    return output, lse[..., None]


def _cells(tokens: Tensor, index: Tensor) -> Tensor:
    """(H, n, X) at (s, L) tokens -> (s, H, L, X)."""
    return tokens[:, index].transpose(0, 1)


def _tokens(cells: list[Tensor], layout: DescendantLayout) -> Tensor:
    """The (s, H, L, X) of all grids -> (H, n, X)."""
    return torch.cat([part.transpose(0, 1).flatten(1, 2) for part in cells], 1)[:, layout.cells]


def _mask(grid: Grid, query: Tensor) -> Tensor | None:
    """(s, 1, L, C + L) to add to the scores; None where flash attention's own causal mask says it."""
    if grid.is_causal:
        return None
    return query.new_zeros(grid.hidden.shape).masked_fill(grid.hidden, -torch.inf)[:, None]
