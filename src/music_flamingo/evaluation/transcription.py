"""How many words, or characters, of a transcript are wrong?

Texts are compared as jiwer normalises them: in lower case, without punctuation and further space. Languages that are
written without spaces are compared by characters, others by words. Of several speakers each has a line, and lines are
compared with those that fit best, in whatever order they stand (concatenated minimum-permutation word error rate).

A rate is a sum of errors over a sum of lengths, of all transcripts in a language; it may be above 1.

Source: jiwer 4; Radford et al., Robust speech recognition via large-scale weak supervision (arXiv:2212.04356),
appendix C, for the languages; Watanabe et al., CHiME-6 (arXiv:2004.09249), section 4, for several speakers.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, Self

import jiwer
import numpy as np
from scipy.optimize import linear_sum_assignment

from music_flamingo.errors import UserError

WITHOUT_SPACES = frozenset(
    ("zh", "zho", "cmn", "yue", "wuu", "ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod")
)
"""Codes of ISO 639 of languages that are written without spaces between words."""
SPEAKERS = "multi_talker"
TRANSCRIPTIONS = ("transcription", "lyrics", SPEAKERS)
"""What `question_name` calls a conversation whose answer is a transcript."""

MOST_LINES = 32
"""Further lines are one with the last: a text of many is no transcript of so many speakers."""

Unit = Literal["word", "character"]

_NORMALISED = jiwer.Compose(
    [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveWhiteSpace(replace_by_space=True)]
)


@dataclass(frozen=True)
class Errors:
    """Of one transcript, or of several.

    Attributes:
        substituted: words, or characters, in place of others.
        deleted: those that are missing.
        inserted: those that nobody said.
        length: words, or characters, of the reference.
    """

    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    length: int = 0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
            self.length + other.length,
        )

    @property
    def total(self) -> int:
        return self.substituted + self.deleted + self.inserted

    @property
    def rate(self) -> float:
        return self.total / self.length


@dataclass(frozen=True)
class Transcript:
    """What is to be heard.

    Args:
        text: with a line for each speaker where there are several.
        language: code of ISO 639, such as "en" or "yue"; a region after a hyphen or underscore says nothing here.
        several_speakers: whether lines may stand in any order.
    """

    text: str
    language: str
    several_speakers: bool = False

    @classmethod
    def of_conversation(cls, conversation: Mapping[str, Any], cut_id: str) -> Self | None:
        """The transcript that a conversation of a cut asks for; None where it asks for something else.

        `data import csv` and `hf` keep a column or field `language` as the conversation's own.

        Args:
            conversation: `question_name` is one of `TRANSCRIPTIONS`, `answer` the text and `language` its language.
            cut_id: for the message.

        Raises:
            UserError: there is no language, or no word in the text.
        """
        name = conversation["question_name"]
        if name not in TRANSCRIPTIONS:
            return None
        where = f"cut {cut_id}, conversation {conversation['id']}"
        language = conversation.get("language")
        if not isinstance(language, str) or not language.strip():
            raise UserError(
                f"{where}: expected `language`, the ISO 639 code of what is transcribed, such as en or zh, got "
                f"{language!r}: add the column or field to what is imported"
            )
        transcript = cls(str(conversation["answer"]), _code(language), name == SPEAKERS)
        if not any(transcript.units(line) for line in transcript.lines):
            raise UserError(
                f"{where}: expected words to transcribe in `answer`, got {conversation['answer']!r}: leave it out"
            )
        return transcript

    @property
    def unit(self) -> Unit:
        return "character" if self.language in WITHOUT_SPACES else "word"

    @property
    def lines(self) -> list[str]:
        """Of the speakers, or the whole text."""
        return self._split(self.text)

    def units(self, text: str) -> list[str]:
        """Words, or characters, as they are compared."""
        words = _NORMALISED(unicodedata.normalize("NFKC", text)).split()
        return list("".join(words)) if self.unit == "character" else words

    def errors(self, heard: str) -> Errors:
        """Of what was written instead."""
        said = [self.units(line) for line in self.lines]
        wrote = [self.units(line) for line in self._split(heard)]
        return sum((line_errors(*pair) for pair in assigned(said, wrote)), Errors())

    def _split(self, text: str) -> list[str]:
        lines = [line for line in text.splitlines() if line.strip()]
        if not self.several_speakers or not lines:
            return [text]
        return [*lines[: MOST_LINES - 1], *filter(None, [" ".join(lines[MOST_LINES - 1 :])])]


def line_errors(said: Sequence[str], wrote: Sequence[str]) -> Errors:
    """Fewest changes that make one sequence of words, or characters, of the other."""
    if not said:  # jiwer refuses an empty reference
        return Errors(inserted=len(wrote))
    compared = jiwer.process_words([" ".join(said)], [" ".join(wrote)])
    return Errors(compared.substitutions, compared.deletions, compared.insertions, len(said))


def assigned(
    said: Sequence[Sequence[str]], wrote: Sequence[Sequence[str]]
) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Which line was written for which, with the fewest errors in all; a line too many meets an empty one."""
    padded = list(zip_longest(said, wrote, fillvalue=()))
    said, wrote = [pair[0] for pair in padded], [pair[1] for pair in padded]
    if len(padded) == 1:
        return [(said[0], wrote[0])]
    costs = np.array([[line_errors(one, other).total for other in wrote] for one in said])
    return [(said[row], wrote[column]) for row, column in zip(*linear_sum_assignment(costs), strict=True)]


def rate_name(language: str, unit: Unit) -> str:
    """`wer/en` or `cer/zh`."""
    return f"{'wer' if unit == 'word' else 'cer'}/{language}"


def languages_of(transcripts: Iterable[Transcript]) -> dict[str, Unit]:
    """Language -> what its errors are counted in, by language."""
    return dict(sorted({each.language: each.unit for each in transcripts}.items()))


def _code(language: str) -> str:
    return language.strip().lower().replace("_", "-").partition("-")[0]
