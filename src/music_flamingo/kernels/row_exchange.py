"""What ranks hold a part of each, brought together on all of them: keys, embeddings of audio, log-probabilities.

Gradients of the whole are summed over the ranks on the way back. Where every rank computes the same loss from the
whole, that is as many times the gradient as there are ranks, and the mean that a strategy takes over them is right.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


class RowExchange:
    """Entries of which each rank of a group has some. All ranks of the group call each method together.

    Args:
        group: of ranks.
        parts: for each of its ranks (n,) which entries it has, together each once.
    """

    def __init__(self, group: dist.ProcessGroup, parts: Sequence[Tensor]) -> None:
        self.group = group
        self.parts = parts
        self.rank = dist.get_rank(group)

    @property
    def own(self) -> Tensor:
        """(n,) the entries of this rank."""
        return self.parts[self.rank]

    def gather(self, part: Tensor) -> Tensor:
        """This rank's entries (n, ...) -> all (N, ...)."""
        padded = _padded(part, self._longest)
        everywhere = padded.new_empty((len(self.parts) * self._longest, *part.shape[1:]))
        dist.all_gather_single(everywhere, padded, group=self.group)
        return everywhere.index_select(0, self._cells)

    def sum_to_parts(self, whole: Tensor) -> Tensor:
        """Something for all entries (N, ...) -> what the ranks have for this one's, summed (n, ...)."""
        everywhere = whole.new_zeros((len(self.parts) * self._longest, *whole.shape[1:]))
        everywhere.index_copy_(0, self._cells, whole)
        summed = whole.new_empty((self._longest, *whole.shape[1:]))
        dist.reduce_scatter_single(summed, everywhere, group=self.group)
        return summed[: len(self.own)]

    @cached_property
    def _longest(self) -> int:
        return max(len(part) for part in self.parts)

    @cached_property
    def _cells(self) -> Tensor:
        """(N,) where each entry stands when all parts, filled up to the longest, stand one behind the other."""
        cells = [rank * self._longest + torch.arange(len(part)) for rank, part in enumerate(self.parts)]
        order = torch.cat(list(self.parts)).argsort()
        return torch.cat(cells).to(order.device)[order]


def gathered(part: Tensor, exchange: RowExchange) -> Tensor:
    """`exchange.gather`, through which gradients flow."""
    return cast(Tensor, _Gathered.apply(part, exchange))  # type: ignore[no-untyped-call]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, exchange: RowExchange) -> Tensor:
        ctx.exchange = exchange
        return exchange.gather(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.exchange.sum_to_parts(gradient), None


def _padded(part: Tensor, length: int) -> Tensor:
    """(n, ...) -> (length, ...)."""
    filled: Tensor = pad(part, (0, 0) * (part.dim() - 1) + (0, length - len(part)))
    return filled.contiguous()
