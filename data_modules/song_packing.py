"""How many songs share a row, and which rank gets which song?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from music_flamingo.errors import UserError


@dataclass(frozen=True)
class SongCost:
    """Of a song with its conversations, or of several.

    Attributes:
        tokens: of the row.
        flops: forward, or anything else by which ranks are to be balanced.
        songs: their number.
        longest: seconds of the longest.
    """

    tokens: int = 0
    flops: float = 0.0
    songs: int = 0
    longest: float = 0.0

    def __add__(self, other: "SongCost") -> "SongCost":
        return SongCost(
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.songs + other.songs,
            max(self.longest, other.longest),
        )


@dataclass(frozen=True)
class RowLimits:
    """The most a row may cost; None is no limit.

    Attributes:
        max_tokens: of a row.
        max_flops: of a row.
        max_duration: seconds of a row, each song counted as long as the longest, as lhotse counts. A song that is
            longer stands alone.
    """

    max_tokens: int | None = None
    max_flops: float | None = None
    max_duration: float | None = None

    def hold(self, cost: SongCost, rows: int = 1) -> bool:
        """Whether so many rows could hold as much."""
        tokens = math.inf if self.max_tokens is None else rows * self.max_tokens
        flops = math.inf if self.max_flops is None else rows * self.max_flops
        duration = math.inf if self.max_duration is None else rows * self.max_duration
        return cost.tokens <= tokens and cost.flops <= flops and cost.songs * cost.longest <= duration

    def require_room(self, cut_id: str, cost: SongCost) -> None:
        """Raise a UserError when a row cannot hold even this song."""
        if self.max_tokens is not None and cost.tokens > self.max_tokens:
            expected, got, field = f"{self.max_tokens} tokens", f"{cost.tokens}", "max_tokens"
        elif self.max_flops is not None and cost.flops > self.max_flops:
            expected, got, field = f"{self.max_flops:.4g} FLOPs", f"{cost.flops:.4g}", "max_flops"
        else:
            return
        raise UserError(
            f"cut {cut_id}: expected at most {expected} (data.{field}), as much as a row may hold, got {got}: raise "
            f"data.{field}, or set data.max_song_seconds and data.shorten_songs: true to hear only the beginning"
        )


def divide_over_ranks(
    costs: Sequence[SongCost], num_ranks: int, limits: RowLimits
) -> tuple[list[list[int]], list[int]]:
    """Longest processing time first: each song, costliest first, to the rank with least to do of those with room.

    Args:
        costs: of each song. A rank without songs takes any.
        num_ranks: rows to make.
        limits: of a row.

    Returns:
        Each rank's songs, costliest first, and the songs for which no rank had room. No rank is without a song if there
        is one for each.

    Source: Graham, Bounds on multiprocessing timing anomalies (1969).
    """
    rows: list[list[int]] = [[] for _ in range(num_ranks)]
    loads = [SongCost()] * num_ranks
    left = []
    for song in sorted(range(len(costs)), key=lambda song: -costs[song].flops):
        with_room = [rank for rank, load in enumerate(loads) if not rows[rank] or limits.hold(load + costs[song])]
        if not with_room:
            left.append(song)
            continue
        rank = min(with_room, key=lambda rank: loads[rank].flops)
        rows[rank].append(song)
        loads[rank] += costs[song]
    return rows, left
