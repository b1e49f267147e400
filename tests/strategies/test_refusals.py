"""Settings of strategies that cannot be, in one line."""

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from music_flamingo.errors import UserError
from music_flamingo.models import AudioFlamingo2, MusicLanguageModel
from music_flamingo.strategies import ContextParallel, FullySharded
from music_flamingo.strategies.row_ranks import RowRank, row_rank


def on_devices(strategy: Any, count: int) -> Any:
    strategy._num_nodes = 1
    strategy.parallel_devices = [None] * count
    return strategy


@pytest.mark.parametrize(
    ("strategy", "setting", "number"),
    [
        (FullySharded(replicas=3), "replicas", 3),
        (ContextParallel(ranks_per_row=3), "ranks_per_row", 3),
        (ContextParallel(ranks_per_row=0), "ranks_per_row", 0),
    ],
)
def test_what_does_not_divide_the_devices(strategy: Any, setting: str, number: int) -> None:
    with pytest.raises(UserError) as refused:
        on_devices(strategy, 4).setup_environment()
    assert str(refused.value) == (f"trainer.strategy.{setting}: expected a number that divides 4 devices, got {number}")


def test_models_that_it_cannot_divide() -> None:
    with pytest.raises(UserError, match=r"FullySharded: expected a model with a language model, got Linear: use ddp"):
        FullySharded().divide(nn.Linear(2, 2))
    deaf: Any = object.__new__(AudioFlamingo2)
    with pytest.raises(UserError, match="audio stands among its tokens, got AudioFlamingo2: use FullySharded"):
        ContextParallel().divide(deaf)
    assert MusicLanguageModel.shares_rows


def test_neighbours_share_rows() -> None:
    def trainer(rank: int) -> Any:
        strategy = on_devices(ContextParallel(ranks_per_row=2), 4)
        strategy.cluster_environment = SimpleNamespace(global_rank=lambda: rank, world_size=lambda: 4)
        kwargs = strategy.distributed_sampler_kwargs
        return SimpleNamespace(distributed_sampler_kwargs=kwargs, global_rank=rank, world_size=4)

    assert [row_rank(trainer(rank)) for rank in range(4)] == [
        RowRank(0, 2, is_first=True),
        RowRank(0, 2, is_first=False),
        RowRank(1, 2, is_first=True),
        RowRank(1, 2, is_first=False),
    ]
    alone: Any = SimpleNamespace(distributed_sampler_kwargs=None)
    assert row_rank(alone) == RowRank(0, 1, is_first=True)
