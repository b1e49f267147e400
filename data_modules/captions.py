"""What is true of a song in several wordings, and what is false of it, for contrastive training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from music_flamingo.corpora.cut_fields import is_caption, truth_of
from music_flamingo.corpora.songbook.caption_variants import caption_variants
from music_flamingo.errors import UserError

Example = Mapping[str, Any]
"""Of a root: `cut`, its id, and `custom`, its fields."""


@dataclass(frozen=True)
class Caption:
    """A true caption, and captions like it that are false of the song."""

    text: str
    negatives: tuple[str, ...] = ()


class Captions(ABC):
    """Captions of songs, of every song as many.

    Args:
        num_positives: true captions.
        num_negatives: of each true caption.
    """

    def __init__(self, num_positives: int = 3, num_negatives: int = 3) -> None:
        if num_positives < 1 or num_negatives < 0:
            raise UserError(
                f"captions: expected num_positives of at least 1 and num_negatives of at least 0, got {num_positives} "
                f"and {num_negatives}"
            )
        self.num_positives = num_positives
        self.num_negatives = num_negatives

    @abstractmethod
    def __call__(self, example: Example) -> list[Caption]:
        """`num_positives` captions with `num_negatives` each.

        Raises:
            UserError: the song has fewer.
        """


class SongbookCaptions(Captions):
    """Captions written from the song's truth, in other words at each visit.

    Args:
        num_positives: true captions.
        num_negatives: of each true caption.
        seed: another seed words otherwise.
        further_facts: what captions say beside who plays, so many facts at most; None says all. Of few, a text tower
            that has never read learns sooner what each one means.
    """

    def __init__(
        self, num_positives: int = 3, num_negatives: int = 3, seed: int = 0, further_facts: int | None = None
    ) -> None:
        super().__init__(num_positives, num_negatives)
        if further_facts is not None and further_facts < 0:
            raise UserError(f"captions: expected further_facts of at least 0, got {further_facts}")
        self.seed = seed
        self.further_facts = further_facts

    def __call__(self, example: Example) -> list[Caption]:
        custom = example["custom"]
        visit = [str(custom[name]) for name in ("epoch", "visit") if name in custom]
        variants = caption_variants(
            truth_of(example["cut"], custom),
            " ".join([example["cut"], *visit]),
            num_positives=self.num_positives,
            num_negatives=self.num_negatives,
            seed=self.seed,
            further_facts=self.further_facts,
        )
        return [Caption(each.text, tuple(negative.text for negative in each.negatives)) for each in variants]


class WrittenCaptions(Captions):
    """The first captions that the corpus holds.

    A cut has `custom.captions`: `[{"text": "...", "negatives": ["...", ...]}, ...]`.
    """

    def __call__(self, example: Example) -> list[Caption]:
        written = example["custom"].get("captions")
        well_formed = isinstance(written, list) and all(map(is_caption, written))
        if not well_formed or len(written) < self.num_positives:
            raise _wrong(example, f"{self.num_positives} captions with `text` and `negatives`", written)
        captions = [Caption(each["text"], tuple(each["negatives"])) for each in written[: self.num_positives]]
        for caption in captions:
            if len(caption.negatives) < self.num_negatives:
                raise _wrong(example, f"{self.num_negatives} negatives of each caption", list(caption.negatives))
        return [Caption(each.text, each.negatives[: self.num_negatives]) for each in captions]


def _wrong(example: Example, expected: str, got: Any) -> UserError:
    return UserError(
        f"cut {example['cut']}: custom.captions: expected {expected}, got {ascii(got)[:80]}: write them, or lower "
        "num_positives and num_negatives of model.captions"
    )
