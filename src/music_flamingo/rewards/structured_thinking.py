"""Structured-thinking reward: how much of a song's metadata a caption states, and nothing else."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from music_flamingo.errors import UserError
from music_flamingo.rewards.answer import read_bpm, read_key, read_meter
from music_flamingo.rewards.mention import (
    mentioned_keys,
    mentioned_meters,
    mentioned_tempi,
    mentioned_words,
    word_pattern,
)
from music_flamingo.rewards.normalise import fold, normalise_text
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import Reward
from music_flamingo.rewards.vocabulary import Vocabulary, read_vocabulary
from music_flamingo.think_tags import parse_completion

StructuredMode = Literal["exact", "paper"]

MAX_CAPTION_CHARACTERS = 20_000
"""A longer caption earns 0 without being read; the paper's have 452 words on average."""

FREE_TEXT_WEIGHT = 0.5

_WORD_SCALARS = ("genre", "subgenre")
_ITEM_BORDER = re.compile(r"[,;\n]")
_SENTENCE_BORDER = re.compile(r"[.!?](?= |$)|;")


@dataclass(frozen=True)
class _Caption:
    """A caption, read once for all fields: folded, and as normalised words."""

    folded: str
    words: str


class StructuredThinkingReward(Reward):
    """Agreement of a caption with its song's metadata, in [0, 1]; abstains on questions and without metadata.

    The weighted mean over the fields that the metadata holds:

    - bpm, key, meter, genre (weight 1): 1 if the caption states exactly one value and it is the true one,
      else 0. Two different tempi are none. Tempi agree within 4 %, keys enharmonically.
    - lists that the vocabulary closes, such as instruments (weight 1): F1 of the stated items. All values of
      the vocabulary count as stated where they stand as whole words; each mention beyond those of the song counts
      as `repeat_weight` wrong items.
    - everything else (weight 1/2): the best F1 of the field's words with those of one sentence of the
      caption.

    Args:
        vocabulary: path or content of the corpus' `vocabulary.json`; its "fields" close the word fields.
        mode: "exact" as above; "paper" reads the paper literally, number of metadata words found in the
            caption as strings over number of fields, which is unbounded and pays for listing every word there
            is.
        complete_fields: closed lists whose absence from the metadata means that the song has none, such as
            dynamics where every change is known: stating one of their values then is a field with score 0.
        repeat_weight: what a repeated value of a list costs, in wrong items. With 1 a sentence that is said twice costs
            less than a wrong one, which suits captions of several hundred words.

    Raises:
        UserError: unknown mode, a vocabulary that cannot be read, a complete field that it does not close, or a weight
            below 1.

    Source: Music Flamingo (arXiv:2511.10289) section 3.3.
    """

    name = "structured_thinking"

    def __init__(
        self,
        vocabulary: Vocabulary,
        mode: StructuredMode = "exact",
        complete_fields: Sequence[str] = (),
        repeat_weight: float = 1.0,
    ) -> None:
        if mode not in ("exact", "paper"):
            raise UserError(f"StructuredThinkingReward: mode must be exact or paper, not {mode!r}")
        if repeat_weight < 1:
            raise UserError(f"StructuredThinkingReward: repeat_weight must be 1 or more, not {repeat_weight}")
        self.mode = mode
        self.repeat_weight = repeat_weight
        self.complete_fields = tuple(complete_fields)
        fields = read_vocabulary(vocabulary, "fields", "StructuredThinkingReward")
        self._closed = {
            _field_name(field): [normalise_text(str(value)) for value in values] for field, values in fields.items()
        }
        unknown = [field for field in self.complete_fields if field not in self._closed]
        if unknown:
            raise UserError(
                f"StructuredThinkingReward: complete_fields names {', '.join(unknown)}, "
                f"but the vocabulary closes only {', '.join(self._closed)}"
            )

    def __call__(self, completion: str, reference: Reference) -> float | None:
        """Score of the caption in the answer block; 0 without one, None where the reward does not apply."""
        metadata = {_field_name(field): value for field, value in reference.metadata.items() if value.strip()}
        if reference.task != "caption" or not metadata:
            return None
        caption = _read_caption(parse_completion(completion).answer or "")
        if caption is None:
            return 0.0
        if self.mode == "paper":
            return _literal_score(caption, metadata)
        scores = [self._field_score(field, value, caption) for field, value in metadata.items()]
        scores += [(0.0, 1.0) for field in self._falsely_stated(caption, metadata)]
        return sum(score * weight for score, weight in scores) / sum(weight for _, weight in scores)

    def field_scores(self, caption: str, metadata: Mapping[str, str]) -> dict[str, float]:
        """Score of each metadata field on its own, in [0, 1].

        Args:
            caption: text without tags.
            metadata: field name -> true value.
        """
        read = _read_caption(caption)
        if read is None:
            return dict.fromkeys(metadata, 0.0)
        return {field: self._field_score(_field_name(field), value, read)[0] for field, value in metadata.items()}

    def _field_score(self, field: str, value: str, caption: _Caption) -> tuple[float, float]:
        """Score and weight of one field."""
        if field == "bpm":
            return _tempo_score(value, caption), 1.0
        if field == "key":
            return float(mentioned_keys(caption.folded) == {read_key(value)}), 1.0
        if field == "meter":
            return float(mentioned_meters(caption.folded) == {read_meter(value)}), 1.0
        closed = self._closed.get(field)
        if not closed:
            return _free_text_score(value, caption), FREE_TEXT_WEIGHT
        if field in _WORD_SCALARS:
            truth = normalise_text(value)
            return float(set(_stated(caption, [*closed, truth])) == {truth}), 1.0
        return _list_score(value, closed, caption, self.repeat_weight), 1.0

    def _falsely_stated(self, caption: _Caption, metadata: Mapping[str, str]) -> list[str]:
        absent = [field for field in self.complete_fields if field not in metadata]
        return [field for field in absent if _stated(caption, self._closed[field])]


def _read_caption(text: str) -> _Caption | None:
    """None for an empty caption and for one that is longer than any caption should be."""
    folded = fold(text) if len(text) <= MAX_CAPTION_CHARACTERS else ""
    # Some characters fold to many.
    if not folded or len(folded) > MAX_CAPTION_CHARACTERS:
        return None
    return _Caption(folded, normalise_text(folded))


def _field_name(field: str) -> str:
    """The paper prints "Vocal Character" where the corpus writes "vocal_character"."""
    return "_".join(field.casefold().split())


def _tempo_score(value: str, caption: _Caption) -> float:
    stated, truth = mentioned_tempi(caption.folded), read_bpm(value)
    if truth is None or len(stated) != 1:
        return 0.0
    return float(abs(stated.pop() - truth) <= 0.04 * truth + 1e-9)


def _list_score(value: str, closed: Sequence[str], caption: _Caption, repeat_weight: float) -> float:
    # A piece may have two verses: what is stated is compared with how often the truth has it.
    truth = Counter(normalise_text(item) for item in _ITEM_BORDER.split(value))
    truth.pop("", None)
    stated = Counter(_stated(caption, [*closed, *truth]))
    repeats = sum(count - max(1, truth[item]) for item, count in stated.items() if count > max(1, truth[item]))
    said = stated.total() + (repeat_weight - 1) * repeats
    return 2 * (truth & stated).total() / max(1, truth.total() + said)


def _stated(caption: _Caption, values: Sequence[str]) -> list[str]:
    pattern = word_pattern(values)
    return mentioned_words(pattern, caption.words, values) if pattern else []


def _free_text_score(value: str, caption: _Caption) -> float:
    """Best F1 over the sentences: over the whole caption, every true sentence would cost precision."""
    truth = Counter(normalise_text(value).split())
    sentences = (Counter(normalise_text(text).split()) for text in _SENTENCE_BORDER.split(caption.folded))
    return max(
        (2 * (truth & said).total() / max(1, truth.total() + said.total()) for said in sentences),
        default=0.0,
    )


def _literal_score(caption: _Caption, metadata: Mapping[str, str]) -> float:
    words = [word for value in metadata.values() for item in _ITEM_BORDER.split(value) for word in fold(item).split()]
    return sum(word in caption.folded for word in words) / len(metadata)
