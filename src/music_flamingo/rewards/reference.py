"""What a completion is scored against: the question, its true answer and what could be observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from music_flamingo.errors import UserError
from music_flamingo.rewards.normalise import normalise_text

TASKS = ("qa", "caption")
ANSWER_TYPES = ("text", "bpm", "key", "meter", "number", "seconds", "list")


@dataclass(frozen=True)
class Reference:
    """The truth about one conversation.

    Attributes:
        task: "qa" or "caption".
        question: the text shown to the model.
        answer: the true answer; for a multiple-choice question the text of the right option, without its
            letter.
        answer_type: how answers are compared, one of `ANSWER_TYPES`.
        options: the texts of the options in the order of their letters; empty for an open question.
        metadata: field name -> value of the song's description; list values are separated by commas.
        observations: field name -> value that a listener could note.
        observation_seconds: field name -> when it is heard, seconds from the start of the cut; fields without
            a time are absent.

    Raises:
        UserError: unknown task or answer type, an empty answer, or an answer that is none of the options.
    """

    task: str
    question: str
    answer: str
    answer_type: str = "text"
    options: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    observations: Mapping[str, str] = field(default_factory=dict)
    observation_seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"task must be qa or caption, not {self.task!r} (question: {self.question[:80]!r})")
        if self.answer_type not in ANSWER_TYPES:
            raise UserError(
                f"answer_type must be one of {', '.join(ANSWER_TYPES)}, not {self.answer_type!r} "
                f"(question: {self.question[:80]!r})"
            )
        if not normalise_text(self.answer):
            raise UserError(f"the answer is empty: nothing could be right (question: {self.question[:80]!r})")
        if self.options and normalise_text(self.answer) not in map(normalise_text, self.options):
            raise UserError(
                f"the answer {self.answer!r} is none of the options {list(self.options)}: "
                f"give the option's text, not its letter (question: {self.question[:80]!r})"
            )

    @classmethod
    def from_conversation(cls, conversation: Mapping[str, Any], custom: Mapping[str, Any]) -> "Reference":
        """Collect the truth about one conversation of a cut.

        Args:
            conversation: one entry of the cut's `conversations`.
            custom: the cut's `custom` fields; `metadata`, which a conversation may have of its own, and `observations`
                may be absent.

        Raises:
            UserError: a required field is missing, or see the class.
        """
        missing = [name for name in ("task", "question", "answer") if name not in conversation]
        if missing:
            name = conversation.get("id", "without id")
            raise UserError(f"conversation {name}: {', '.join(missing)} missing, add to the cut's conversations")
        observations = list(custom.get("observations") or ())
        return cls(
            task=conversation["task"],
            question=conversation["question"],
            answer=conversation["answer"],
            answer_type=conversation.get("answer_type") or "text",
            options=tuple(conversation.get("options") or ()),
            metadata=dict(conversation.get("metadata") or custom.get("metadata") or {}),
            observations={entry["field"]: entry["value"] for entry in observations},
            observation_seconds={
                entry["field"]: float(entry["start"]) for entry in observations if entry.get("start") is not None
            },
        )
