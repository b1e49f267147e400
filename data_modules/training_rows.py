"""What did training use of the rows it was given?

Rows are made ahead, by loading processes and by Lightning, so that the sampler is always further than training. What
counts is what an optimizer step was taken on.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lhotse.cut import Cut
from torch.utils.data import Dataset

from music_flamingo.batch import PackedBatch, RowOrigin
from music_flamingo.data_modules.conversation_rows import ConversationDataset
from music_flamingo.data_modules.song_sampler import SongRow, SongSampler

DROPPED = "conversations whose chain the checker dropped"


class TrainingRows(Dataset[PackedBatch]):
    """Rows that know where they come from.

    Args:
        conversations: makes them.
    """

    def __init__(self, conversations: ConversationDataset) -> None:
        self.conversations = conversations

    def __getitem__(self, row: SongRow) -> PackedBatch:
        batch = self.conversations[row.cuts]
        limit = self.conversations.store.max_seconds
        shortened = sum(cut.duration > limit for cut in row.cuts)
        left_out = {DROPPED: self.conversations.dropped, f"visits of songs after their first {limit:g} s": shortened}
        origin = RowOrigin(row.state, tuple(map(_visit, row.cuts)), left_out, row.idle)
        return replace(batch, origin=origin)


class UsedRows:
    """Keeps a sampler's state where the optimizer is.

    Args:
        sampler: of the training rows; its `state` becomes that of the last row an optimizer step was taken on.
        steps: gives the optimizer steps taken so far.

    Attributes:
        left_out: what those rows lacked, by the reason.
    """

    def __init__(self, sampler: SongSampler, steps: Callable[[], int]) -> None:
        self.sampler = sampler
        self.sampler.before_epoch = self.commit
        self.steps = steps
        self.left_out: Counter[str] = Counter()
        self._begun: list[RowOrigin] = []
        self._steps_before = 0

    def begin(self, origin: RowOrigin) -> None:
        """A row is about to be trained on."""
        self.commit()
        self._begun.append(origin)
        self._steps_before = self.steps()

    def commit(self) -> None:
        """If an optimizer step was taken on the rows begun, they are used."""
        if not self._begun or self.steps() == self._steps_before:
            return
        self.sampler.state = self._begun[-1].state
        for origin in self._begun:
            self.left_out.update(origin.left_out)
        self._begun.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state_dict(), "left_out": dict(self.left_out)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.sampler.load_state_dict(state_dict["sampler"])
        self.left_out = Counter(state_dict["left_out"])


def _visit(cut: Cut) -> tuple[str, int, int]:
    return cut.id, cut.custom["epoch"], cut.custom.get("visit", 0)
