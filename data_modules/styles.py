"""How a conversation of a cut becomes a prompt and the text that is trained."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from music_flamingo.corpora.songbook.captions import caption_facts, render_caption
from music_flamingo.corpora.songbook.noise import MachineNoise
from music_flamingo.corpora.songbook.traces import concluded_answer, think_text
from music_flamingo.think_tags import BRIDGE

Conversation = Mapping[str, Any]


class ConversationStyle(ABC):
    """Chooses conversations and writes their targets.

    Args:
        question_names: questions to take, None for all.
        forms: forms of a question to take.
        always: questions asked of every song in their open or caption form, whatever else is drawn.
    """

    think = False

    def __init__(
        self,
        question_names: Sequence[str] | None = None,
        forms: Sequence[str] = ("open", "binary", "multiple_choice", "caption"),
        always: Sequence[str] = (),
    ) -> None:
        self.question_names = None if question_names is None else frozenset(question_names)
        self.forms = frozenset(forms)
        self.always = frozenset(always)

    def follow_ups(self, conversation: Conversation) -> list[tuple[str, str]]:
        """Further questions of a conversation, each with the text to train."""
        return []

    def takes(self, conversation: Conversation) -> bool:
        named = self.question_names is None or conversation["question_name"] in self.question_names
        return named and conversation["form"] in self.forms

    def is_always_asked(self, conversation: Conversation) -> bool:
        return conversation["question_name"] in self.always and conversation["form"] in ("open", "caption")

    def answer_weight(self, conversation: Conversation) -> float:
        """What a token after the thoughts counts in the loss, in tokens of the thoughts."""
        return 1.0

    @abstractmethod
    def target(self, conversation: Conversation, custom: Mapping[str, Any], cut_id: str) -> str | None:
        """The text to train, None where the conversation is dropped (counted by the data module)."""


class DirectAnswers(ConversationStyle):
    """The answer and nothing else, and the answers to what is asked after it."""

    def target(self, conversation: Conversation, custom: Mapping[str, Any], cut_id: str) -> str | None:
        return str(conversation["answer"])

    def follow_ups(self, conversation: Conversation) -> list[tuple[str, str]]:
        return [(str(turn["question"]), str(turn["answer"])) for turn in conversation.get("follow_ups", ())]


class WrittenThoughts(ConversationStyle):
    """Thoughts that the corpus holds, then the answer: MF-Think as it is imported.

    A conversation without thoughts has no target; training counts it.

    Source: Music Flamingo (arXiv:2511.10289), figures of MF-Think.
    """

    think = True

    def target(self, conversation: Conversation, custom: Mapping[str, Any], cut_id: str) -> str | None:
        if not conversation.get("thoughts"):
            return None
        parts = (f"<think>{conversation['thoughts']}</think>", conversation.get("bridge", ""))
        return " ".join(filter(None, (*parts, f"<answer>{conversation['answer']}</answer>")))


class ThinkTraces(ConversationStyle):
    """Thoughts, then the answer, as MF-Think writes them.

    Args:
        noise: makes traces and captions as wrong as machine-written ones; None leaves them true.
        question_names: questions to take, None for all.
        forms: forms of a question to take.
        always: questions asked of every song in their open or caption form, whatever else is drawn.
        short_answer_weight: what a token of an answer other than a caption counts in the loss, in tokens of the
            thoughts: one word against forty otherwise.

    Source: Music Flamingo (arXiv:2511.10289), figures of MF-Think.
    """

    think = True

    def __init__(
        self,
        noise: MachineNoise | None = None,
        question_names: Sequence[str] | None = None,
        forms: Sequence[str] = ("open", "binary", "multiple_choice", "caption"),
        always: Sequence[str] = (),
        short_answer_weight: float = 1.0,
    ) -> None:
        super().__init__(question_names, forms, always)
        self.noise = noise
        self.short_answer_weight = short_answer_weight

    def answer_weight(self, conversation: Conversation) -> float:
        return 1.0 if conversation["task"] == "caption" else self.short_answer_weight

    def target(self, conversation: Conversation, custom: Mapping[str, Any], cut_id: str) -> str | None:
        key = f"{cut_id} {conversation['id']}"
        noted: list[dict[str, Any]] = list(custom["observations"])
        observations = noted if self.noise is None else self.noise.observations(noted, key=key)
        if observations is None:
            return None
        chain = think_text(observations, concluding=conversation.get("answer_from"))
        thoughts = f"<think> {chain} </think>"
        if conversation["task"] == "caption":
            facts = caption_facts(custom["truth"], custom["tradition"])
            facts = facts if self.noise is None else self.noise.facts(facts, key=key)
            return f"{thoughts} <answer> {render_caption(facts)} </answer>"
        return f"{thoughts} {BRIDGE} <answer> {concluded_answer(conversation, observations)} </answer>"
