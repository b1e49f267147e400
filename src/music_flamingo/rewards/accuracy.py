"""Accuracy reward: does the one answer given say what is true?"""

import re
from dataclasses import dataclass
from typing import Literal

from music_flamingo.errors import UserError
from music_flamingo.rewards.answer import READERS, strip_lead_in
from music_flamingo.rewards.normalise import fold, normalise_text
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import Reward
from music_flamingo.think_tags import parse_completion

AccuracyMode = Literal["exact", "paper"]

MAX_EXTRA_CHARACTERS = 500
"""An answer that is longer than the truth by more is wrong without being read: it says something else."""

# "(b) flute", "[[b]]", "option b : flute"; the rest is compared with that option's text.
_MARKED_LETTER = re.compile(
    r"(?:\( ?(?P<round>[a-z]) ?\)|\[{1,2} ?(?P<square>[a-z]) ?\]{1,2}"
    r"|(?:option|letter|choice) (?P<named>[a-z])\b)"
    r"[ .,:;)-]*(?P<rest>.*)",
    re.DOTALL,
)
# "b. flute", "b) flute"; a lone "b." may also be the note B, so that texts are tried before.
_DOTTED_LETTER = re.compile(r"(?P<letter>[a-z]) ?[.):](?: |$)[ .,:;)-]*(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right.

    Attributes:
        correct: the decision.
        why: one phrase for a reader, such as "said violin, truth flute".
    """

    correct: bool
    why: str


class AccuracyReward(Reward):
    """1 when the answer is right, else 0; abstains on captions.

    Only the text of the single answer block counts, and all of it: an empty, hedged or negated answer, two
    answers or a list of likely words are wrong. With options the answer must be the text of one of them, or
    name one by a marked letter ("(B)", "option B", "B."; a bare "B" may be a note), with nothing else beside
    it.

    Args:
        mode: "exact" compares by the answer's type: keys enharmonically (relative keys differ), tempi within
            `bpm_tolerance`, meters and numbers exactly, times within `seconds_tolerance`, lists as sets in
            which a repeated item is wrong, everything else as normalised text. "paper" compares normalised
            text only.
        bpm_tolerance: largest relative error of a tempo.
        seconds_tolerance: largest error of a time, seconds.

    Raises:
        UserError: unknown mode or a negative tolerance.

    Source: Music Flamingo (arXiv:2511.10289) section 3.3; the paper leaves the normalisation open.
    """

    name = "accuracy"

    def __init__(
        self, mode: AccuracyMode = "exact", bpm_tolerance: float = 0.04, seconds_tolerance: float = 0.5
    ) -> None:
        if mode not in ("exact", "paper"):
            raise UserError(f"AccuracyReward: mode must be exact or paper, not {mode!r}")
        if min(bpm_tolerance, seconds_tolerance) < 0:
            raise UserError(
                "AccuracyReward: bpm_tolerance and seconds_tolerance must be 0 or more, "
                f"not {bpm_tolerance} and {seconds_tolerance}"
            )
        self.mode = mode
        self.bpm_tolerance = bpm_tolerance
        self.seconds_tolerance = seconds_tolerance

    def __call__(self, completion: str, reference: Reference) -> float | None:
        """1.0 or 0.0 for a question; None for a caption."""
        if reference.task != "qa":
            return None
        return float(self.judge(parse_completion(completion).answer, reference).correct)

    def judge(self, answer: str | None, reference: Reference) -> Verdict:
        """Decide about an answer that is already taken out of its tags.

        Args:
            answer: text of the answer; None when the completion holds no single answer.
            reference: the truth, of task "qa".
        """
        if answer is None:
            return Verdict(False, f"no single answer, truth {reference.answer}")
        if len(answer) > len(reference.answer) + MAX_EXTRA_CHARACTERS:
            return Verdict(False, f"answer of {len(answer)} characters, truth {reference.answer}")
        if not normalise_text(answer):
            return Verdict(False, f"empty answer, truth {reference.answer}")
        return Verdict(self._is_correct(answer, reference), f"said {_shortened(answer)}, truth {reference.answer}")

    def _is_correct(self, answer: str, reference: Reference) -> bool:
        if self.mode == "paper":
            return normalise_text(answer) == normalise_text(reference.answer)
        if reference.options:
            chosen = _chosen_option(answer, reference)
            return chosen is not None and normalise_text(chosen) == normalise_text(reference.answer)
        reader = READERS.get(reference.answer_type)
        truth = reader(reference.answer) if reader else None
        if reader is None or truth is None:
            # A truth that is not of its type is compared as text: nothing may be right by not being readable.
            return normalise_text(reference.answer) in _spellings(answer)
        return self._values_agree(reader(answer), truth, reference.answer_type)

    def _values_agree(self, said: object, truth: object, answer_type: str) -> bool:
        if isinstance(said, float) and isinstance(truth, float):
            tolerances = {"bpm": self.bpm_tolerance * truth, "seconds": self.seconds_tolerance}
            # Decimal fractions such as 0.04 are not exact: the bound itself shall pass.
            return abs(said - truth) <= tolerances.get(answer_type, 0.0) + 1e-9
        return said == truth


def _chosen_option(answer: str, reference: Reference) -> str | None:
    """Option that the answer names: by marked letter, text, value or dotted letter; None if unclear."""
    options = reference.options
    marked = _lettered_option(_MARKED_LETTER, answer, options)
    if marked is not None:
        return marked
    spellings = _spellings(answer)
    chosen = [option for option in options if normalise_text(option) in spellings]
    reader = READERS.get(reference.answer_type)
    if not chosen and reader is not None:
        value = reader(answer)
        chosen = [option for option in options if value is not None and reader(option) == value]
    if chosen:
        return chosen[0] if len(set(map(normalise_text, chosen))) == 1 else None
    return _lettered_option(_DOTTED_LETTER, answer, options)


def _spellings(answer: str) -> set[str]:
    """The normalised answer, with and without a phrase such as "the answer is"."""
    return {normalise_text(answer), normalise_text(strip_lead_in(answer))}


def _lettered_option(pattern: re.Pattern[str], answer: str, options: tuple[str, ...]) -> str | None:
    """Option whose letter the answer gives, alone or followed by just that option's text."""
    for text in (fold(answer), strip_lead_in(answer)):
        match = pattern.fullmatch(text)
        if match is None:
            continue
        letter = next(group for name, group in match.groupdict().items() if group and name != "rest")
        index = ord(letter) - ord("a")
        if index < len(options) and normalise_text(match["rest"]) in ("", normalise_text(options[index])):
            return options[index]
    return None


def _shortened(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
