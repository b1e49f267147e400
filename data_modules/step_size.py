"""How much do the rows of all ranks hold together, before any audio is read?"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from lhotse.cut import Cut

from music_flamingo.data_modules.conversation_rows import ConversationDataset
from music_flamingo.data_modules.song_sampler import SongSampler


@dataclass(frozen=True)
class StepSize:
    """Means over some steps in which every rank has one row.

    Attributes:
        ranks: their number.
        sequences: conversations of a step.
        tokens: of a step; those to be sampled come on top.
        steps_of_epoch: how many such steps an epoch has, about.
    """

    ranks: int
    sequences: float
    tokens: float
    steps_of_epoch: float


def counted_step_size(sampler: SongSampler, conversations: ConversationDataset, steps: int) -> StepSize:
    """Of the first steps of the first epoch, whatever the sampler is at: a resumed run counts the same."""
    drawn = [[cut for row in rows for cut in row] for rows in sampler.first_steps(steps)]

    def mean(count: Callable[[Cut], int]) -> float:
        return fmean(sum(map(count, cuts)) for cuts in drawn)

    return StepSize(
        ranks=sampler.world_size,
        sequences=mean(conversations.num_conversations),
        tokens=mean(lambda cut: conversations.workload(cut).tokens),
        steps_of_epoch=len(sampler.order.epoch(0)) / mean(lambda cut: 1),
    )
