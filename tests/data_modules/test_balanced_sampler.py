import copy
import random
from collections.abc import Iterator, Sequence
from statistics import mean

import pytest
import torch
from lhotse import CutSet, MonoCut
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler

from music_flamingo.data_modules.balanced_sampler import BalancedCutSampler
from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.errors import UserError
from music_flamingo.models.cost_model import CostModel, song_workload
from tests.builders import full_size_config

Step = list[list[str]]
"""Cut ids of each rank."""


def songs(durations: Sequence[float]) -> CutSet:
    return CutSet([MonoCut(f"{n}", start=0, duration=d, channel=0) for n, d in enumerate(durations)])


def cost_in_seconds(cut: Cut) -> SongCost:
    return SongCost(tokens=int(cut.duration), flops=cut.duration + cut.duration**2 / 40)


def sampler(cuts: CutSet, max_tokens: int, world_size: int, rank: int, seed: int = 0) -> BalancedCutSampler:
    limits = RowLimits(max_tokens=max_tokens)
    return BalancedCutSampler(cuts, cost_in_seconds, limits, shuffle=True, seed=seed, world_size=world_size, rank=rank)


def steps(samplers: Sequence[BalancedCutSampler]) -> list[Step]:
    """One epoch of all ranks, which must take equally many steps."""
    return [[[cut.id for cut in row] for row in rows] for rows in zip(*samplers, strict=True)]


def mix(seed: int) -> tuple[CutSet, int, int]:
    """Songs, the most tokens of a row and a number of ranks."""
    rng = random.Random(seed)
    cuts = songs([rng.randint(1, 40) for _ in range(rng.randint(60, 300))])
    return cuts, rng.randint(80, 160), rng.randint(1, 6)


def heard(epoch: list[Step]) -> list[str]:
    return [cut_id for step in epoch for row in step for cut_id in row]


@pytest.mark.parametrize("seed", range(20))
def test_every_song_is_heard_once_in_rows_within_the_limit(seed: int) -> None:
    cuts, max_tokens, ranks = mix(seed)
    duration = {cut.id: cut.duration for cut in cuts}
    epoch = steps([sampler(cuts, max_tokens, ranks, rank, seed) for rank in range(ranks)])
    assert sorted(heard(epoch)) == sorted(duration)
    assert all(0 < sum(duration[cut_id] for cut_id in row) <= max_tokens for step in epoch for row in step)
    for step in epoch[:-2]:
        assert sum(duration[cut_id] for row in step for cut_id in row) > ranks * (max_tokens - 40)  # the longest song


@pytest.mark.parametrize("seed", range(5))
def test_epochs_differ_and_each_comes_back_the_same(seed: int) -> None:
    cuts, max_tokens, ranks = mix(seed)
    samplers = [sampler(cuts, max_tokens, ranks, rank) for rank in range(ranks)]
    epochs = []
    for epoch in (0, 1, 0):
        for each in samplers:
            each.set_epoch(epoch)
        epochs.append(steps(samplers))
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("seed", range(5))
def test_one_rank_has_the_rows_that_lhotse_fills(seed: int) -> None:
    cuts, max_tokens, _ = mix(seed)
    ours = sampler(cuts, max_tokens, 1, 0, seed)
    # Without `concatenate_cuts` lhotse counts each cut as long as the row's longest, as for padded batches.
    lhotses = SimpleCutSampler(cuts, max_duration=max_tokens, concatenate_cuts=True, shuffle=True, seed=seed)
    for epoch in range(2):
        ours.set_epoch(epoch)
        lhotses.set_epoch(epoch)
        assert [[cut.id for cut in row] for row in ours] == [[cut.id for cut in row] for row in lhotses]


def test_ranks_have_equal_work_on_songs_of_all_lengths_at_full_size() -> None:
    rng = random.Random(0)
    cuts = songs([min(max(180 * rng.lognormvariate(0, 0.75), 10), 600) for _ in range(640)])
    cost_model = CostModel(full_size_config())

    def flops(cut: Cut, *, training: bool = False) -> SongCost:
        windows, rest = divmod(int(100 * cut.duration), 3000)
        answer = 600 if int(cut.id) % 2 else 30
        work = song_workload(torch.tensor([3000] * windows + [rest] * (rest > 4)), 10, [(30, answer)])
        spent = cost_model.flops(work)
        trained = spent.training(encoder=False, projector=True, language_model=True)
        return SongCost(work.tokens, trained if training else spent.forward)

    samplers = [
        BalancedCutSampler(cuts, flops, RowLimits(max_tokens=49_152), shuffle=True, world_size=8, rank=rank)
        for rank in range(8)
    ]
    for training in (False, True):
        cost = {cut.id: flops(cut, training=training).flops for cut in cuts}
        loads = [[sum(cost[cut_id] for cut_id in row) for row in step] for step in steps(samplers)]
        assert max(max(step) / mean(step) for step in loads[:-2]) < 1.05
        assert sum(map(max, loads)) / sum(map(mean, loads)) < 1.05


def test_the_last_step_has_a_song_for_each_rank() -> None:
    epoch = steps([sampler(songs([1] * 5), 2, 2, rank) for rank in range(2)])
    assert [sorted(len(row) for row in step) for step in epoch] == [[1, 2], [1, 1]]
    assert sorted(heard(epoch)) == ["0", "1", "2", "3", "4"]


def test_where_rows_hold_single_songs_some_are_heard_once_more_at_the_end() -> None:
    epoch = steps([sampler(songs([2] * 4), 2, 3, rank) for rank in range(3)])
    assert [[len(row) for row in step] for step in epoch] == [[1, 1, 1], [1, 1, 1]]
    again = [cut_id for cut_id in heard(epoch) if "_dup" in cut_id]
    assert len(again) == 2
    assert {cut_id.partition("_")[0] for cut_id in heard(epoch)} == {"0", "1", "2", "3"}


def test_ranks_without_songs_hear_those_of_others() -> None:
    assert [[len(row) for row in step] for step in steps([sampler(songs([1]), 9, 3, rank) for rank in range(3)])] == [
        [1, 1, 1]
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_restored_sampler_goes_on_where_it_was(seed: int) -> None:
    cuts, max_tokens, ranks = mix(seed)
    whole = sampler(cuts, max_tokens, ranks, 0)
    whole.set_epoch(1)
    rows = [[cut.id for cut in row] for row in whole]
    interrupted = sampler(cuts, max_tokens, ranks, 0)
    interrupted.set_epoch(1)
    taken = random.Random(seed).randrange(len(rows))
    iterator = iter(interrupted)
    before = [[cut.id for cut in next(iterator)] for _ in range(taken)]
    state = interrupted.state_dict()
    resumed, untouched = sampler(cuts, max_tokens, ranks, 0), copy.deepcopy(state)
    resumed.load_state_dict(state)
    assert state == untouched
    assert resumed.remaining_cuts == interrupted.remaining_cuts
    assert resumed.remaining_duration == pytest.approx(interrupted.remaining_duration)
    assert before + [[cut.id for cut in row] for row in resumed] == rows
    resumed.set_epoch(2)
    assert sum(len(row) for row in resumed) > 0


def test_a_restored_sampler_goes_on_where_it_was_though_the_filter_has_changed() -> None:
    cuts, limit = songs([10, 30] * 30), {"seconds": 20.0}
    rows = []
    for interrupt in (False, True):
        limit["seconds"] = 20
        each = sampler(cuts, 60, 2, 0)
        each.filter(lambda cut: cut.duration < limit["seconds"])
        iterator = iter(each)
        next(iterator)
        limit["seconds"] = 40
        if interrupt:
            state = each.state_dict()
            each = sampler(cuts, 60, 2, 0)
            each.load_state_dict(state)
            iterator = iter(each)
        rows.append([[cut.id for cut in row] for row in rest(iterator)])
    assert rows[0] == rows[1]
    assert any(int(cut_id) % 2 for row in rows[0] for cut_id in row)


def rest(iterator: Iterator[CutSet]) -> Iterator[CutSet]:
    """What is left of an epoch: a `for` over a sampler would begin it anew."""
    while (row := next(iterator, None)) is not None:
        yield row


def test_what_the_filter_keeps_out_is_counted_and_not_heard() -> None:
    samplers = [sampler(songs([10] * 9 + [30] * 3), 40, 2, rank) for rank in range(2)]
    for each in samplers:
        each.filter(lambda cut: cut.duration < 20)
    assert sorted(heard(steps(samplers))) == sorted(map(str, range(9)))
    assert [each.diagnostics.discarded_cuts for each in samplers] == [3, 3]


def test_a_state_of_other_songs_is_refused() -> None:
    state = sampler(songs([1] * 3), 2, 2, 0).state_dict() | {"drawn": 3, "waiting": ["lost"]}
    with pytest.raises(UserError, match=r"expected .* among them \['lost'\], got 3: resume with the same corpus"):
        sampler(songs([1] * 3), 2, 2, 0).load_state_dict(state)


def test_a_song_larger_than_a_row_stops_the_run() -> None:
    with pytest.raises(UserError, match=r"cut 0: expected at most 9 tokens"):
        list(sampler(songs([10]), 9, 2, 0))
