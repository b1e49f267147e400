"""Rows as full as their limits allow, and of equal cost on all ranks."""

import copy
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.base import CutSampler
from lhotse.dataset.sampling.data_source import DataSource

from music_flamingo.data_modules.song_packing import RowLimits, SongCost, divide_over_ranks
from music_flamingo.errors import UserError


class BalancedCutSampler(CutSampler):  # type: ignore[misc]  # lhotse has no types
    """Fills a row for every rank at a time, and divides the songs so that all ranks have about as much to compute.

    Every rank draws the same songs in the same order and divides them alike, then keeps its own row: nothing is
    communicated. A step takes songs, in lhotse's order for the seed and epoch, until the next would be too much for
    all ranks together. Those for which no rank has room open the next step. On one rank a row holds the songs that
    follow one another, as in lhotse's `SimpleCutSampler`.

    Each song is visited once per epoch, and all ranks take equally many steps. So that the last step has a song for
    each rank, the one before gives up some. Only where that one cannot, as its rows hold single songs, does lhotse let
    some ranks hear songs of others once more, fewer songs than there are ranks.

    A state is restored exactly, also where the filter has changed since.

    Args:
        cuts: songs.
        cost: of a cut.
        limits: of a row.
        shuffle: draw anew in each epoch.
        seed: of the order.
        world_size: ranks; those of torch.distributed when None.
        rank: the one whose rows to give, likewise.

    Raises:
        UserError: a cut is more than a row may hold.
    """

    def __init__(
        self,
        cuts: CutSet,
        cost: Callable[[Cut], SongCost],
        limits: RowLimits,
        *,
        shuffle: bool = False,
        seed: int = 0,
        world_size: int | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__(shuffle=shuffle, seed=seed, world_size=world_size, rank=rank)
        self.cuts = cuts
        self.cost = cost
        self.limits = limits
        self._source = DataSource(cuts)
        self._waiting: deque[Cut] = deque()  # drawn, but for a later step
        self._rows: deque[list[Cut]] = deque()

    def __iter__(self) -> "BalancedCutSampler":
        if not self._just_restored_state:
            self.diagnostics.reset_current_epoch()
            self._start_epoch(drawn=0, waiting=())
        return self

    def _next_batch(self) -> CutSet:
        """One rank's row. lhotse asks for as many as there are ranks, and keeps the one of its own."""
        if not self._rows:
            self._rows.extend(self._next_rows())
        if not self._rows:
            raise StopIteration
        return CutSet.from_cuts(self._rows.popleft())

    def state_dict(self) -> dict[str, Any]:
        drawn = self.num_cuts - self._source.remaining_cuts
        return {**super().state_dict(), "drawn": drawn, "waiting": [cut.id for cut in self._waiting]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a sampler of the same cuts, seed and number of ranks was.

        Raises:
            UserError: a song of the state is not among the cuts.
        """
        state = copy.deepcopy(state_dict)  # lhotse empties what it is given
        drawn, waiting = state.pop("drawn"), state.pop("waiting")
        super().load_state_dict(state)
        cuts = {cut.id: cut for cut in self.cuts}
        unknown = [cut_id for cut_id in waiting if cut_id not in cuts]
        if unknown or drawn > len(cuts):
            raise UserError(
                f"the sampler's state expected the {drawn} or more cuts it was made with, among them {unknown}, got "
                f"{len(cuts)}: resume with the same corpus, or begin anew"
            )
        self._start_epoch(drawn, [cuts[cut_id] for cut_id in waiting])

    @property
    def num_cuts(self) -> int:
        return len(self._source)

    @property
    def remaining_cuts(self) -> int:
        return int(self._source.remaining_cuts) + len(self._waiting)

    @property
    def remaining_duration(self) -> float:
        return float(self._source.remaining_duration + sum(cut.duration for cut in self._waiting))

    def _start_epoch(self, drawn: int, waiting: Iterable[Cut]) -> None:
        if self.shuffle:
            self._source.shuffle(self.seed + self.epoch)
        self._source.fast_forward(drawn)
        self._waiting = deque(waiting)
        self._rows.clear()

    def _next_rows(self) -> list[list[Cut]]:
        """The rows of all ranks for one step; fewer only where songs are fewer than ranks, none at the epoch's end."""
        songs, costs = self._draw_step()
        rows, left = divide_over_ranks(costs, self.world_size, self.limits)
        self._waiting.extendleft(songs[index] for index in sorted(left, reverse=True))
        self._spare_songs(rows, songs)
        return [[songs[index] for index in sorted(row)] for row in rows if row]

    def _draw_step(self) -> tuple[list[Cut], list[SongCost]]:
        """As many songs as one row on every rank could hold."""
        songs: list[Cut] = []
        costs: list[SongCost] = []
        total = SongCost()
        while (cut := self._draw()) is not None:
            cost = self.cost(cut)
            self.limits.require_room(cut.id, cost)
            total += cost
            if not self.limits.hold(total, self.world_size):
                self._waiting.appendleft(cut)
                break
            songs.append(cut)
            costs.append(cost)
        return songs, costs

    def _spare_songs(self, rows: list[list[int]], songs: list[Cut]) -> None:
        """Take songs out of the rows where fewer than the ranks are left for the epoch's last step."""
        while len(self._waiting) < self.world_size and (cut := self._draw_new()) is not None:
            self._waiting.append(cut)
        missing = self.world_size - len(self._waiting) if self._waiting else 0
        for _ in range(missing):
            longest = max(rows, key=len)
            if len(longest) > 1:
                self._waiting.append(songs[longest.pop()])

    def _draw(self) -> Cut | None:
        """The next song that the filter lets in, those that wait first; None at the epoch's end."""
        while self._waiting:
            cut = self._waiting.popleft()
            if self._admits(cut):  # the filter may have changed since
                return cut
        return self._draw_new()

    def _draw_new(self) -> Cut | None:
        while (cut := next(self._source, None)) is not None:
            if self._admits(cut):
                return cut
        return None

    def _admits(self, cut: Cut) -> bool:
        is_admitted: bool = self._filter_fn(cut)
        if not is_admitted:
            self.diagnostics.discard_single(cut)
        return is_admitted
