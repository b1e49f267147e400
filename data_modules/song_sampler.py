"""Which songs make the next row of each rank?

The order of an epoch, and which of its songs have been taken, say all about what comes next. That is the sampler's
state, a few numbers. Every row carries the state after it, and the data module keeps the state of the last row that
training used: rows that were loaded ahead and never used are made again after a restart.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

from lhotse.cut import Cut
from lhotse.utils import fastcopy
from torch.utils.data import Sampler

from music_flamingo.data_modules.song_order import SongOrder
from music_flamingo.data_modules.song_packing import RowLimits, SongCost, divide_over_ranks
from music_flamingo.errors import UserError


@dataclass(frozen=True)
class SamplerState:
    """How far training is in the order of its songs; the same on all ranks, whatever their number.

    Attributes:
        epoch: number of the present epoch.
        drawn: visits of the epoch that were drawn.
        waiting: places in the epoch's order of visits that were drawn for a later step.
        rows: rows that each rank was given, in all epochs.
        skipped: visits that were not admitted, in all epochs.
    """

    epoch: int = 0
    drawn: int = 0
    waiting: tuple[int, ...] = ()
    rows: int = 0
    skipped: int = 0


class SongRow(NamedTuple):
    """Songs of one row.

    Args:
        cuts: each with `epoch`, and from the second on `visit`, in `custom`.
        state: after this row.
        idle: another rank has these songs too, and is the one to learn from them.
    """

    cuts: tuple[Cut, ...]
    state: SamplerState = SamplerState()
    idle: bool = False


class SongSampler(Sampler[SongRow]):
    """Fills a row for every rank at a time, and divides the songs so that all ranks have about as much to compute.

    Every rank draws the same songs in the same order and divides them alike, then keeps its own row: nothing is
    communicated. A step takes songs until the next would be too much for all ranks together. Those for which no rank
    has room open the next step. On one rank a row holds the songs that follow one another.

    Each visit comes once per epoch, and all ranks take equally many steps. So that the last step has a song for each
    rank, the one before gives up some. Only where that one cannot, as its rows hold single songs, do some ranks get an
    idle row.

    Iterating begins after `state`, and with the next epoch where nothing is left of one.

    Args:
        songs: all songs.
        order: of their visits.
        cost: of a cut.
        limits: of a row.
        admits: whether a cut may be in the row of that number; None lets in all.
        world_size: ranks.
        rank: the one whose rows to give.

    Attributes:
        state: of the last row that was used.
        before_epoch: called as an iteration begins, so that `state` can be brought up to date.

    Raises:
        UserError: a cut is more than a row may hold, or none is let in.
    """

    def __init__(
        self,
        songs: Sequence[Cut],
        order: SongOrder,
        cost: Callable[[Cut], SongCost],
        limits: RowLimits,
        admits: Callable[[Cut, int], bool] | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        self.songs = songs
        self.order = order
        self.cost = cost
        self.limits = limits
        self.admits = admits or (lambda cut, row: True)
        self.world_size = world_size
        self.rank = rank
        self.state = SamplerState()
        self.before_epoch: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[SongRow]:
        self.before_epoch()
        for state in (self.state, SamplerState(self.state.epoch + 1, rows=self.state.rows, skipped=self.state.skipped)):
            epoch = _EpochRows(self, state)
            for rows in iter(epoch.next_rows, []):
                after = epoch.state()
                idle = self.rank >= len(rows)
                yield SongRow(rows[self.rank % len(rows)], after, idle)
            if epoch.rows > state.rows:
                return
        raise UserError(
            f"curriculum and quarantine let in none of {len(self.songs)} songs for row {self.state.rows}: raise the "
            "limits of the Curriculum"
        )

    def first_steps(self, count: int) -> list[list[tuple[Cut, ...]]]:
        """The rows of all ranks in the first steps of the first epoch, fewer where it is shorter."""
        return list(islice(iter(_EpochRows(self, SamplerState()).next_rows, []), count))

    def state_dict(self) -> dict[str, Any]:
        """The state and the order it belongs to, as JSON can hold it."""
        state = asdict(self.state)
        order = asdict(self.order)
        return {**state, "waiting": list(state["waiting"]), "order": {name: _plain(v) for name, v in order.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a sampler was, with any number of ranks.

        Raises:
            UserError: it had other songs, passes or another seed.
        """
        state = dict(state_dict)
        saved, present = state.pop("order"), {name: _plain(v) for name, v in asdict(self.order).items()}
        if saved != present:
            raise UserError(
                f"expected the songs of the checkpoint, {_described(saved)}, got {_described(present)}: resume with "
                "the same corpora and seed, or begin anew in another run.name"
            )
        self.state = SamplerState(**{**state, "waiting": tuple(state["waiting"])})


class _EpochRows:
    """Makes the rows of one epoch, from any state on."""

    def __init__(self, sampler: SongSampler, state: SamplerState) -> None:
        self.sampler = sampler
        self.epoch = state.epoch
        self.visits = sampler.order.epoch(state.epoch)
        self.drawn = state.drawn
        self.waiting = deque(state.waiting)
        self.rows = state.rows
        self.skipped = state.skipped

    def state(self) -> SamplerState:
        return SamplerState(self.epoch, self.drawn, tuple(self.waiting), self.rows, self.skipped)

    def next_rows(self) -> list[tuple[Cut, ...]]:
        """The rows of all ranks for one step; fewer only where songs are fewer than ranks, none at the epoch's end."""
        drawn = self._draw_step()
        limits, ranks = self.sampler.limits, self.sampler.world_size
        rows, left = divide_over_ranks([song.cost for song in drawn], ranks, limits)
        self.waiting.extendleft(drawn[index].place for index in sorted(left, reverse=True))
        self._spare_songs(rows, drawn)
        filled = [tuple(drawn[index].cut for index in sorted(row)) for row in rows if row]
        self.rows += bool(filled)
        return filled

    def _draw_step(self) -> list["_Drawn"]:
        """As many songs as one row on every rank could hold, and no fewer than ranks."""
        limits, ranks = self.sampler.limits, self.sampler.world_size
        songs: list[_Drawn] = []
        total = SongCost()
        while (song := self._next_waiting() or self._next_new()) is not None:
            limits.require_room(song.cut.id, song.cost)
            total += song.cost
            if len(songs) >= ranks and not limits.hold(total, ranks):
                self.waiting.appendleft(song.place)
                break
            songs.append(song)
        return songs

    def _spare_songs(self, rows: list[list[int]], drawn: Sequence["_Drawn"]) -> None:
        """Take songs out of the rows where fewer than the ranks are left for the epoch's last step."""
        ranks = self.sampler.world_size
        while len(self.waiting) < ranks and (song := self._next_new()) is not None:
            self.waiting.append(song.place)
        missing = ranks - len(self.waiting) if self.waiting else 0
        for _ in range(missing):
            longest = max(rows, key=len)
            if len(longest) > 1:
                self.waiting.append(drawn[longest.pop()].place)

    def _next_waiting(self) -> "_Drawn | None":
        while self.waiting:
            song = self._admitted(self.waiting.popleft())  # a new lesson may have begun since it was drawn
            if song is not None:
                return song
        return None

    def _next_new(self) -> "_Drawn | None":
        while self.drawn < len(self.visits):
            self.drawn += 1
            song = self._admitted(self.drawn - 1)
            if song is not None:
                return song
        return None

    def _admitted(self, place: int) -> "_Drawn | None":
        visit = self.visits[place]
        cut = self.sampler.songs[visit.song]
        if not self.sampler.admits(cut, self.rows):
            self.skipped += 1
            return None
        # What tells this visit from others, so that each draws other questions, whatever process draws them.
        again = {"visit": visit.number} if visit.number else {}
        cut = fastcopy(cut, custom={**(cut.custom or {}), "epoch": self.epoch, **again})
        return _Drawn(place, cut, self.sampler.cost(cut))


class _Drawn(NamedTuple):
    place: int
    cut: Cut
    cost: SongCost


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _described(order: Mapping[str, Any]) -> str:
    return f"{' + '.join(map(str, order['sizes']))} with passes {order['passes']} and seed {order['seed']}"
