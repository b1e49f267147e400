"""Attention over a prefix tree: each token sees its own segment causally and all of its ancestor segments.

No N x N mask and no copy of a song's keys: a token attends to its root and to what stands below it apart, and the two
are merged by the log-sum-exp z of their scores,

    out = out_root * exp(z_root - z) + out_own * exp(z_own - z),    z = log(exp(z_root) + exp(z_own)).

Either may be flash attention, which holds no scores. Of the softmax its backward needs only z and `out`: given the
merged ones, it returns for either stretch the gradients of attention over both.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.row_exchange import RowExchange

Runs = tuple[range, ...]
"""Stretches of a row, in its order, none across the border of two segments."""


class AttendingRow(NamedTuple):
    """A row as attention is asked for it.

    Attributes:
        tree: its layout.
        runs: tokens that attend; None for all.
        exchange: where ranks hold a part of the row each; None where this one holds all.
    """

    tree: PrefixTree
    runs: Runs | None
    exchange: RowExchange | None


class PrefixAttention(ABC):
    """A way to attend over packed rows. All of them give the same output and gradients, up to rounding."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        tree: PrefixTree,
        scaling: float,
        *,
        runs: Runs | None = None,
        exchange: RowExchange | None = None,
    ) -> Tensor:
        """Attend over the packed row.

        Args:
            query: (H, N, D), or of the tokens of `runs` alone, one run behind the other.
            key: (H', N, D) with H a multiple of H' (grouped queries).
            value: (H', N, D).
            tree: layout of the row.
            scaling: factor on the scores.
            runs: tokens that attend, as places in the row; None for all.
            exchange: where ranks hold a part of the row each, and `key` and `value` are this rank's.

        Returns:
            Of the query's shape.
        """
        # By token from here on: what a stretch gathers is then one piece of memory.
        query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        return self.attend(query, key, value, AttendingRow(tree, runs, exchange), scaling).transpose(0, 1)

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, row: AttendingRow, scaling: float) -> Tensor:
        """The same with tokens first: query (N, H, D), key and value (N, H', D) -> (N, H, D)."""


class FlashLayout(ABC):
    """Where the tokens of one row stand for flash attention, all of them or those that attend.

    Here and below tensors lead with the token, as the projections leave them: query (N, H, D), key and value
    (N, H', D), log-sum-exp (N, H).
    """

    @abstractmethod
    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """Attention over all a token sees (N, H, D), and the log-sum-exp of its scores."""

    @abstractmethod
    def backward(
        self, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, scaling: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value, given what `forward` returned."""


class ExchangedLayout(FlashLayout):
    """Flash attention of this rank's tokens over those of all ranks.

    Keys and values come from the other ranks in both directions again: a rank keeps its own.
    """

    def __init__(self, layout: FlashLayout, exchange: RowExchange) -> None:
        self.layout = layout
        self.exchange = exchange

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        return self.layout.forward(query, *self._whole(key, value), scaling)

    def backward(
        self, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, scaling: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        whole = self._whole(key, value)
        to_query, *to_whole = self.layout.backward(gradient, query, *whole, output, lse, scaling)
        to_key, to_value = self.exchange.sum_to_parts(torch.stack(to_whole, 1)).unbind(1)
        return to_query, to_key, to_value

    def _whole(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """In one message."""
        both = self.exchange.gather(torch.stack([key, value], 1))
        return both[:, 0], both[:, 1]


class FlashFunction(torch.autograd.Function):
    """Keeps what flash attention keeps: the inputs, the output and one number for each token and head."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: FlashLayout, scaling: float) -> Tensor:
        output, lse = layout.forward(query, key, value, scaling)
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.layout, ctx.scaling = layout, scaling
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.layout.backward(gradient, *ctx.saved_tensors, ctx.scaling), None, None


class FlashAttention(PrefixAttention):
    """Flash attention, which holds no scores."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, row: AttendingRow, scaling: float) -> Tensor:
        """See `PrefixAttention`."""
        layout = self.layout(row.tree, query.device, row.runs)
        layout = layout if row.exchange is None else ExchangedLayout(layout, row.exchange)
        output: Tensor = FlashFunction.apply(query, key, value, layout, scaling)  # type: ignore[no-untyped-call]
        return output

    @abstractmethod
    def layout(self, tree: PrefixTree, device: torch.device, runs: Runs | None) -> FlashLayout:
        """Where the tokens stand."""
