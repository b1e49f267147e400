"""Which ranks have rows of their own? All of them, but where several share each row."""

from typing import NamedTuple

from lightning import Trainer


class RowRank(NamedTuple):
    """A rank's place among those that have other rows.

    Attributes:
        number: of its rows.
        ranks: that have other rows at a time.
        is_first: of the ranks that share its rows.
    """

    number: int = 0
    ranks: int = 1
    is_first: bool = True


def row_rank(trainer: Trainer) -> RowRank:
    """Of this process."""
    given = trainer.distributed_sampler_kwargs
    if given is None:
        return RowRank()
    number, ranks = int(given["rank"]), int(given["num_replicas"])
    return RowRank(number, ranks, is_first=trainer.global_rank % (trainer.world_size // ranks) == 0)
