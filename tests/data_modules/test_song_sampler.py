import json
import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import pytest
import torch
from lhotse import CutSet, MonoCut
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler

from music_flamingo.data_modules.song_order import SongOrder
from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.data_modules.song_sampler import SamplerState, SongRow, SongSampler
from music_flamingo.errors import UserError
from music_flamingo.models.audio_encoder import audio_token_lengths
from music_flamingo.models.cost_model import song_workload
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost
from tests.builders import full_size_config

Step = list[list[str]]
"""Cut ids of each rank."""


def songs(durations: Sequence[float]) -> list[Cut]:
    return [MonoCut(f"{n}", start=0, duration=d, channel=0) for n, d in enumerate(durations)]


def cost_in_seconds(cut: Cut) -> SongCost:
    return SongCost(tokens=int(cut.duration), flops=cut.duration + cut.duration**2 / 40)


def sampler(cuts: list[Cut], max_tokens: int, world_size: int, rank: int, seed: int = 0, **settings) -> SongSampler:
    order = SongOrder((len(cuts),), (1.0,), seed)
    limits = RowLimits(max_tokens=max_tokens)
    return SongSampler(cuts, order, cost_in_seconds, limits, world_size=world_size, rank=rank, **settings)


def steps(samplers: Sequence[SongSampler]) -> list[Step]:
    """One epoch of all ranks, which must take equally many steps; what is idle is left out."""
    return [[[] if row.idle else ids(row) for row in rows] for rows in zip(*samplers, strict=True)]


def ids(row: SongRow) -> list[str]:
    return [cut.id for cut in row.cuts]


def mix(seed: int) -> tuple[list[Cut], int, int]:
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
            each.state = SamplerState(epoch)
        epochs.append(steps(samplers))
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("seed", range(5))
def test_one_rank_has_the_rows_that_lhotse_fills(seed: int) -> None:
    cuts, max_tokens, _ = mix(seed)
    ours = sampler(cuts, max_tokens, 1, 0, seed)
    padded = sampler(cuts, max_tokens, 1, 0, seed)
    padded.cost = lambda cut: SongCost(songs=1, longest=cut.duration)
    padded.limits = RowLimits(max_duration=max_tokens)
    # Without `concatenate_cuts` lhotse counts each cut as long as the row's longest, as for padded batches.
    for each, concatenate in ((ours, True), (padded, None)):
        lhotses = SimpleCutSampler(
            CutSet(cuts), max_duration=max_tokens, concatenate_cuts=concatenate, shuffle=True, seed=seed
        )
        for epoch in range(2):
            each.state = SamplerState(epoch)
            lhotses.set_epoch(epoch)
            assert [ids(row) for row in each] == [[cut.id for cut in row] for row in lhotses]


def test_ranks_have_equal_work_on_songs_of_all_lengths_at_full_size() -> None:
    rng = random.Random(0)
    cuts = songs([min(max(180 * rng.lognormvariate(0, 0.75), 10), 600) for _ in range(640)])
    cost_model = MusicFlamingoCost(full_size_config())

    def flops(cut: Cut, *, training: bool = False) -> SongCost:
        windows, rest = divmod(int(100 * cut.duration), 3000)
        answer = 600 if int(cut.id) % 2 else 30
        lengths = torch.tensor([3000] * windows + [rest] * (rest > 4))
        work = song_workload(lengths, int(audio_token_lengths(lengths).sum()), 10, [(30, answer)])
        spent = cost_model.flops(work)
        trained = spent.training(encoder=False, projector=True, language_model=True)
        return SongCost(work.tokens, trained if training else spent.forward)

    samplers = [
        SongSampler(cuts, SongOrder((640,), (1.0,)), flops, RowLimits(max_tokens=49_152), world_size=8, rank=rank)
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


def test_where_rows_hold_single_songs_some_ranks_are_idle_at_the_end() -> None:
    samplers = [sampler(songs([2] * 4), 2, 3, rank) for rank in range(3)]
    epoch = steps(samplers)
    assert sorted(heard(epoch)) == ["0", "1", "2", "3"]
    assert [[len(row) for row in step] for step in epoch] == [[1, 1, 1], [1, 0, 0]]
    last = [list(each)[-1] for each in samplers]
    assert [row.idle for row in last] == [False, True, True]
    assert ids(last[0]) == ids(last[1]) == ids(last[2])


def test_a_song_longer_than_the_seconds_of_a_row_stands_alone_on_every_rank() -> None:
    samplers = [sampler(songs([600] * 5 + [10] * 6), 0, 4, rank) for rank in range(4)]
    for each in samplers:
        each.cost = lambda cut: SongCost(flops=cut.duration, songs=1, longest=cut.duration)
        each.limits = RowLimits(max_duration=160)
    epoch = steps(samplers)
    assert sorted(heard(epoch)) == sorted(map(str, range(11)))
    assert all(len(row) == 1 for step in epoch for row in step if any(int(cut_id) < 5 for cut_id in row))


@pytest.mark.parametrize("seed", range(10))
def test_rows_after_any_row_are_the_same_in_a_sampler_that_begins_there(seed: int) -> None:
    cuts, max_tokens, ranks = mix(seed)
    whole = sampler(cuts, max_tokens, ranks, 0)
    rows = list(whole)
    whole.state = rows[-1].state
    rows += list(whole)  # the next epoch
    for taken, row in enumerate(rows[:-1]):
        begun = sampler(cuts, max_tokens, ranks, 0)
        whole.state = row.state
        begun.load_state_dict(json.loads(json.dumps(whole.state_dict())))
        assert [ids(next_row) for next_row in begun][0] == ids(rows[taken + 1])
    assert {row.state.epoch for row in rows} == {0, 1}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("ranks", [(1, 2, 1), (4, 1, 3), (2, 2, 4)])
def test_an_epoch_is_whole_though_the_number_of_ranks_changes(seed: int, ranks: tuple[int, ...]) -> None:
    cuts, max_tokens, _ = mix(seed)
    state, visited = SamplerState(), []
    rng = random.Random(seed)
    for run, world_size in enumerate(ranks):
        samplers = [sampler(cuts, max_tokens, world_size, rank) for rank in range(world_size)]
        for each in samplers:
            each.state = state
        stop = rng.randint(0, 1) if run < len(ranks) - 1 else None
        for step, rows in enumerate(zip(*samplers, strict=True)):
            visited += [cut_id for row in rows if not row.idle for cut_id in ids(row)]
            state = rows[0].state
            assert all(row.state == state for row in rows)
            if step == stop:
                break
    assert sorted(visited) == sorted(cut.id for cut in cuts)


def test_a_lesson_begins_with_its_row_whatever_was_made_ahead() -> None:
    cuts = songs([10, 30] * 30)
    each = sampler(cuts, 40, 2, 0, admits=lambda cut, row: cut.duration < (20 if row < 2 else 40))
    rows = list(each)
    assert all(int(cut_id) % 2 == 0 for row in rows[:2] for cut_id in ids(row))
    assert any(int(cut_id) % 2 for row in rows[2:] for cut_id in ids(row))
    for taken, row in enumerate(rows[:-1]):
        each.state = row.state
        assert [ids(next_row) for next_row in each] == [ids(later) for later in rows[taken + 1 :]]


def test_what_the_curriculum_keeps_out_is_counted_and_not_heard() -> None:
    cuts = songs([10] * 9 + [30] * 3)
    samplers = [sampler(cuts, 40, 2, rank, admits=lambda cut, row: cut.duration < 20) for rank in range(2)]
    assert sorted(heard(steps(samplers))) == sorted(map(str, range(9)))
    assert [list(each)[-1].state.skipped for each in samplers] == [3, 3]


def test_a_curriculum_that_lets_none_in_stops_the_run() -> None:
    with pytest.raises(UserError, match="let in none of 3 songs for row 0: raise the limits"):
        list(sampler(songs([10] * 3), 40, 1, 0, admits=lambda cut, row: False))


def test_visits_of_a_song_in_one_epoch_are_told_apart() -> None:
    cuts = songs([10] * 3)
    each = sampler(cuts, 20, 1, 0)
    each.order = replace(each.order, passes=(2.0,))
    visits = [(cut.id, cut.custom["epoch"], cut.custom.get("visit", 0)) for row in each for cut in row.cuts]
    assert sorted(visits) == [(f"{song}", 0, visit) for song in range(3) for visit in range(2)]


def test_a_state_of_other_songs_is_refused() -> None:
    state = sampler(songs([1] * 4), 2, 2, 0).state_dict()
    with pytest.raises(
        UserError, match=r"expected the songs of the checkpoint, 4 .* seed 0, got 3 .*: resume with the"
    ):
        sampler(songs([1] * 3), 2, 2, 0).load_state_dict(state)


def test_a_song_larger_than_a_row_stops_the_run() -> None:
    with pytest.raises(UserError, match=r"cut 0: expected at most 9 tokens"):
        list(sampler(songs([10]), 9, 2, 0))
