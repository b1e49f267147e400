"""Format reward: is the completion one block of thoughts and one answer?"""

import re
from typing import Literal

from music_flamingo.errors import UserError
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import Reward
from music_flamingo.think_tags import matches_paper_format, parse_completion

FormatMode = Literal["tolerant", "strict", "paper"]

_WORD = re.compile(r"\w+")


class FormatReward(Reward):
    r"""1 for a completion of the right form, else 0.

    Args:
        mode: "tolerant" asks for exactly one non-empty think block, a bridge of at most 80 characters or
            none, exactly one non-empty answer block and nothing else; "strict" allows no bridge; "paper" is
            the expression `<think>.*?</think>\s*<answer>.*?</answer>` over the whole text, which gives the
            paper's own MF-Think targets 0 and nested or repeated blocks 1.
        min_think_words: fewest words between the think tags; ignored in mode "paper".

    Raises:
        UserError: unknown mode, or fewer than one word asked for.

    Source: Music Flamingo (arXiv:2511.10289) section 3.3.
    """

    name = "format"

    def __init__(self, mode: FormatMode = "tolerant", min_think_words: int = 1) -> None:
        if mode not in ("tolerant", "strict", "paper"):
            raise UserError(f"FormatReward: mode must be tolerant, strict or paper, not {mode!r}")
        if min_think_words < 1:
            raise UserError(f"FormatReward: min_think_words must be at least 1, not {min_think_words}")
        self.mode = mode
        self.min_think_words = min_think_words

    def __call__(self, completion: str, reference: Reference) -> float:
        """1.0 or 0.0; applies to questions and captions alike."""
        if self.mode == "paper":
            return float(matches_paper_format(completion))
        parsed = parse_completion(completion)
        if not parsed.well_formed or parsed.think is None or (self.mode == "strict" and parsed.bridge):
            return 0.0
        return float(_has_words(parsed.think, self.min_think_words))


def _has_words(text: str, minimum: int) -> bool:
    words = _WORD.finditer(text)
    return all(next(words, None) is not None for _ in range(minimum))
