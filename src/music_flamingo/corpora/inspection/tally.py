"""Counting songs and conversations, one at a time."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lhotse.cut import Cut

from music_flamingo.corpora.inspection.histogram import summary
from music_flamingo.corpora.inspection.token_counts import TokenCounter

SONG_GROUPS = ("source", "licence")
CONVERSATION_GROUPS = ("task", "question_name", "form")
NOT_SAID = "(not said)"


class Tally:
    """What was counted.

    Attributes:
        seconds: of each song.
        num_conversations: of all songs.
        groups: for each field, how many have which value: songs by `SONG_GROUPS`, else conversations.
        group_seconds: the same for the audio, each song once for each of its conversations.
        tokens: of each song ("audio"), question and answer.
        answers: how often each question name has which answer.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.num_conversations = 0
        self.groups: dict[str, Counter[str]] = {name: Counter() for name in (*SONG_GROUPS, *CONVERSATION_GROUPS)}
        self.group_seconds: dict[str, Counter[str]] = {name: Counter() for name in self.groups}
        self.tokens: dict[str, list[int]] = {}
        self.answers: dict[str, Counter[str]] = {}

    def add(self, cut: Cut, tokens: TokenCounter | None) -> None:
        """Count a song and what is said about it; what is no conversation is passed over."""
        self.seconds.append(cut.duration)
        self._add_groups(SONG_GROUPS, cut.custom, cut.duration)
        if tokens is not None:
            self.tokens.setdefault("audio", []).append(tokens.audio(cut))
        for conversation in cut.custom["conversations"]:
            if isinstance(conversation, dict):
                self._add_conversation(conversation, cut.duration, tokens)

    def _add_conversation(self, conversation: Mapping[str, Any], seconds: float, tokens: TokenCounter | None) -> None:
        self.num_conversations += 1
        self._add_groups(CONVERSATION_GROUPS, conversation, seconds)
        question, answer = str(conversation.get("question", "")), str(conversation.get("answer", ""))
        self.answers.setdefault(str(conversation.get("question_name") or NOT_SAID), Counter())[answer] += 1
        if tokens is not None:
            self.tokens.setdefault("question", []).append(tokens.question(question))
            self.tokens.setdefault("answer", []).append(tokens.answer(answer))

    def _add_groups(self, names: Iterable[str], fields: Mapping[str, Any], seconds: float) -> None:
        for name in names:
            value = str(fields.get(name) or NOT_SAID)
            self.groups[name][value] += 1
            self.group_seconds[name][value] += seconds  # type: ignore[assignment] # a Counter counts floats, too

    def totals(self) -> dict[str, Any]:
        """Numbers of songs, seconds, conversations and tokens, ready for JSON."""
        return {
            "songs": len(self.seconds),
            "seconds": summary(self.seconds),
            "conversations": self.num_conversations,
            "tokens": {name: summary(values) for name, values in self.tokens.items()},
        }


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them in one."""
    whole = Tally()
    for tally in tallies:
        whole.seconds += tally.seconds
        whole.num_conversations += tally.num_conversations
        for name in whole.groups:
            whole.groups[name] += tally.groups[name]
            whole.group_seconds[name] += tally.group_seconds[name]
        for kind, values in tally.tokens.items():
            whole.tokens.setdefault(kind, []).extend(values)
        for question, answers in tally.answers.items():
            whole.answers.setdefault(question, Counter()).update(answers)
    return whole
