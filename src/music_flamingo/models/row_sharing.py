"""Which part of a row does a rank compute, where several share it? Tokens, windows and targets, each by itself."""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from music_flamingo.batch import AudioWindows, PackedBatch
from music_flamingo.kernels.row_exchange import RowExchange
from music_flamingo.kernels.row_layout import runs_of
from music_flamingo.models.attention import TokenShare


class WindowShare(NamedTuple):
    """Windows of a row that a rank encodes.

    Attributes:
        chosen: which; a rank that has none takes the first one, so that all ranks call the encoder.
        exchange: of the row's audio tokens.
    """

    chosen: slice
    exchange: RowExchange


class RowSharing:
    """Divides rows over the ranks of a group, which all have the same rows.

    Args:
        group: of ranks.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def tokens(self, batch: PackedBatch) -> TokenShare:
        """This rank's tokens."""
        device, count = batch.input_ids.device, batch.tree.num_tokens
        parts = [_places(both_ends(count, rank, self.size), device) for rank in range(self.size)]
        runs = runs_of(batch.tree, both_ends(count, self.rank, self.size))
        return TokenShare(runs, RowExchange(self.group, parts))

    def targets(self, batch: PackedBatch, tokens: TokenShare) -> RowExchange:
        """Targets go with the tokens that predict them."""
        owner = torch.empty_like(batch.input_ids)
        for rank, part in enumerate(tokens.exchange.parts):
            owner[part] = rank
        owner_of_target = owner[batch.targets.positions]
        parts = [torch.nonzero(owner_of_target == rank).flatten() for rank in range(self.size)]
        return RowExchange(self.group, parts)

    def windows(self, audio: AudioWindows) -> WindowShare:
        """About as many windows for each rank, in their order."""
        borders = [len(audio) * rank // self.size for rank in range(self.size + 1)]
        ends = [0, *audio.tokens.cumsum(0).tolist()]
        parts = [
            torch.arange(ends[start], ends[stop], device=audio.tokens.device)
            for start, stop in zip(borders[:-1], borders[1:], strict=True)
        ]
        chosen = slice(borders[self.rank], borders[self.rank + 1])
        return WindowShare(chosen if chosen.start < chosen.stop else slice(0, 1), RowExchange(self.group, parts))


def both_ends(count: int, rank: int, num_ranks: int) -> tuple[range, range]:
    """A stretch from the front and one from the back of a row.

    Later tokens see more: of twice as many equal stretches as there are ranks, the first and the last are as much work
    as the second and the last but one.
    """
    borders = [count * number // (2 * num_ranks) for number in range(2 * num_ranks + 1)]
    back = 2 * num_ranks - 1 - rank
    return range(borders[rank], borders[rank + 1]), range(borders[back], borders[back + 1])


def _places(stretches: tuple[range, ...], device: torch.device) -> Tensor:
    return torch.cat([torch.arange(each.start, each.stop, device=device) for each in stretches])
