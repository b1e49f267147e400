"""One scored completion, as a line of `predictions.jsonl` holds it.

Every stage writes these lines and the report, the intervals and the curves read them; nothing else is kept
of what a model said.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from music_flamingo.errors import UserError

_NUMBER = (int, float)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "cut": str,
    "piece": str,
    "conversation": str,
    "question_name": str,
    "form": str,
    "audio": str,
    "decoding": str,
    "completion": str,
    "temperature": (*_NUMBER, type(None)),
    "correct": (bool, type(None)),
    "rewards": (dict, type(None)),
    "reward": (*_NUMBER, type(None)),
    "steps": (list, type(None)),
    "entropy": (*_NUMBER, type(None)),
}

_TRANSCRIPT = frozenset({"language", "unit", "errors", "inserted", "length"})


@dataclass(frozen=True)
class Prediction:
    """A completion with its score.

    Args:
        stage: folder name of the training stage whose model answered.
        audio: "own", or "other" when the model heard another clip (the listening baseline).
        correct: None for captions, which are scored by their rewards.
        rewards: by reward name; None where a reward abstained.
        steps: checked thoughts, each {"field", "value", "true"}.
        entropy: nats per token.
        transcript: of one asked for, {"language", "unit", "errors", "inserted", "length"}.
        step: optimizer step of the weights that answered; None in files that do not say.
    """

    stage: str
    cut: str
    piece: str
    conversation: str
    question_name: str
    form: str
    question: str
    options: list[str] | None
    mode: str
    audio: str
    decoding: str
    temperature: float | None
    completion: str
    think: str | None
    answer: str | None
    truth: str
    correct: bool | None
    why: str
    rewards: dict[str, float | None] | None
    reward: float | None
    steps: list[dict[str, Any]] | None
    num_tokens: int | None
    entropy: float | None
    transcript: dict[str, Any] | None = None
    step: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> "Prediction":
        """Check one parsed line; fields this version does not know are ignored.

        Args:
            row: a parsed line.
            where: file and line, for the message.

        Raises:
            UserError: a field is missing or has the wrong type.
        """
        names = [field.name for field in fields(cls) if field.name in row or field.default is MISSING]
        missing = [name for name in names if name not in row]
        if missing:
            raise UserError(f"{where}: field {missing[0]!r} is missing; write the predictions again")
        for name, expected in _TYPES.items():
            if not isinstance(row[name], expected):
                raise UserError(f"{where}: field {name!r} cannot be {row[name]!r}; write the predictions again")
        if not all(isinstance(step, dict) and {"field", "value", "true"} <= step.keys() for step in row["steps"] or ()):
            raise UserError(f"{where}: a step needs field, value and true; write the predictions again")
        transcript = row.get("transcript")
        if transcript is not None and not (isinstance(transcript, dict) and transcript.keys() >= _TRANSCRIPT):
            raise UserError(
                f"{where}: a transcript needs {', '.join(sorted(_TRANSCRIPT))}; write the predictions again"
            )
        return cls(**{name: _finite(row[name]) for name in names})


def read_predictions(path: Path) -> list[Prediction]:
    """All lines of a `predictions.jsonl`, in order.

    Raises:
        UserError: a line is not a JSON object or lacks a field; names the file and the line.
    """
    predictions = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                predictions.append(Prediction.from_row(_parse(line, where), where))
    return predictions


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: expected a JSON object, got {line.strip()[:60]!r}; mend or delete the line"
        ) from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, got {line.strip()[:60]!r}; mend or delete the line")
    return row


def _finite(value: Any) -> Any:
    """None for the NaN of a reward nobody gave."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
