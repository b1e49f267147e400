"""The order of tokens that TinyMU's released weights were trained on, with padding between prompt and answer.

    [song, separator | prompt, padded to 129 | answer, padded to 129]

Nothing attends to padding, but positions count it, and the prompt's last padding predicts the answer's first token.
Padding is "!", which is not trained in answers either.

Source: the published code of TinyMU (arXiv:2604.15849).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from music_flamingo.batch import IGNORE_INDEX
from music_flamingo.errors import UserError


@dataclass(frozen=True)
class ReleasedLayout:
    """Rows of padded prompts and answers.

    Args:
        prompt_length: tokens that a prompt is padded to.
        answer_length: tokens that an answer is padded to.
        padding_id: of "!".
        end_id: what ends an answer.
    """

    prompt_length: int
    answer_length: int
    padding_id: int
    end_id: int

    def row(self, song: list[int], prompt: list[int], answer: list[int] | None = None) -> dict[str, list[int]]:
        """Tokens, what is attended to and labels of one question; without an answer, up to where it begins.

        Raises:
            UserError: prompt or answer is too long.
        """
        parts = [(song, len(song)), (prompt, self.prompt_length)]
        if answer is not None:
            parts.append((self._ended(answer), self.answer_length))
        self._require_room(prompt, "text", "a prompt", "prompt_length")
        self._require_room(answer or [], "answers", "an answer", "answer_length")
        ids = [token for part, length in parts for token in part + [self.padding_id] * (length - len(part))]
        mask = [int(place < len(part)) for part, length in parts for place in range(length)]
        start = len(ids) if answer is None else len(ids) - self.answer_length
        labels = [
            IGNORE_INDEX if place < start or token == self.padding_id else token for place, token in enumerate(ids)
        ]
        return {"input_ids": ids, "attention_mask": mask, "position_ids": list(range(len(ids))), "labels": labels}

    def _ended(self, answer: list[int]) -> list[int]:
        """The answer and its end, for which one of the full length has no room."""
        return [*answer, self.end_id][: self.answer_length]

    def _require_room(self, ids: list[int], argument: str, what: str, field: str) -> None:
        length = getattr(self, field)
        if len(ids) > length:
            raise UserError(
                f"{argument}: expected {what} of at most {length} tokens ({field} in processor_config.json), "
                f"got {len(ids)}: shorten it"
            )


def side_by_side(rows: Sequence[dict[str, list[int]]], padding_id: int) -> dict[str, Tensor]:
    """(B, L) of each name, shorter rows padded on the left, so that all end together."""
    outside = {"input_ids": padding_id, "attention_mask": 0, "position_ids": 0, "labels": IGNORE_INDEX}
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([[value] * (longest - len(row[name])) + row[name] for row in rows])
        for name, value in outside.items()
    }
