"""Attention over grids of padded lines: by the CPU's flash attention, or by plain torch, which is the reference."""

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.prefix_attention import AttendingRow, FlashAttention, FlashLayout, PrefixAttention, Runs
from music_flamingo.kernels.row_exchange import gathered
from music_flamingo.kernels.row_layout import Grid, RowLayout, layout_row

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class PlainAttention(PrefixAttention):
    """Every score is held, on any device and in any dtype."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, row: AttendingRow, scaling: float) -> Tensor:
        """See `PrefixAttention`."""
        if row.exchange is not None:
            key, value = gathered(key, row.exchange), gathered(value, row.exchange)
        return _merged(query, key, value, layout_row(row.tree, query.device, row.runs), scaling, _plain_attention)[0]


class GridFlash(FlashAttention):
    """Flash attention of torch's CPU build."""

    def layout(self, tree: PrefixTree, device: torch.device, runs: Runs | None) -> FlashLayout:
        """See `FlashAttention`."""
        return _GridLayout(layout_row(tree, device, runs))


class _Attention(Protocol):
    """Attention (s, H, L, D) of a grid's queries over keys and values (s, H, K, D), and its log-sum-exp (s, H, L)."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float
    ) -> tuple[Tensor, Tensor]: ...


def _merged(
    query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scaling: float, attend: _Attention
) -> tuple[Tensor, Tensor]:
    """Attention (n, H, D) over all stretches, and the log-sum-exp (n, H) of its scores."""
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

    own, *others = layout.stretches
    output, lse = stretch(own, 0.0)
    for grids in others:
        part, part_lse = stretch(grids, -torch.inf)
        merged = torch.logaddexp(lse, part_lse)
        share, part_share = (torch.exp(each - merged).to(query.dtype)[..., None] for each in (lse, part_lse))
        output, lse = output * share + part * part_share, merged
    return output, lse


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float) -> tuple[Tensor, Tensor]:
    scores = (query @ key.transpose(2, 3)).to(torch.promote_types(query.dtype, torch.float32)) * scaling
    mask = torch.full_like(scores[0, 0], -torch.inf).triu(1) if grid.is_causal else _mask(grid, scores.dtype)
    scores = scores if mask is None else scores + mask
    return scores.softmax(-1).to(query.dtype) @ value, scores.logsumexp(-1)


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, grid: Grid, scaling: float) -> tuple[Tensor, Tensor]:
    output, lse = _FLASH(query, key, value, is_causal=grid.is_causal, attn_mask=_mask(grid, query.dtype), scale=scaling)
    return output, lse


class _GridLayout(FlashLayout):
    """Flash attention of the CPU over padded grids."""

    def __init__(self, layout: RowLayout) -> None:
        self.layout = layout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        return _merged(query, key, value, self.layout, scaling, _flash_attention)

    def backward(
        self, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, scaling: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = query.shape[1]
        to_query, to_key, to_value = (each.new_zeros(each.shape) for each in (query, key, value))
        for grid in chain.from_iterable(self.layout.stretches):
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
                scale=scaling,
            )
            to_query.index_add_(0, grid.real_tokens, _real(to_cells, grid))
            to_key.index_add_(0, grid.seen.flatten(), _shared(to_seen_key, key.shape[1]))
            to_value.index_add_(0, grid.seen.flatten(), _shared(to_seen_value, value.shape[1]))
        return to_query, to_key, to_value


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
