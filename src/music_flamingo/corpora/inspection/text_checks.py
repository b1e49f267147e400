"""What is wrong with the questions and answers of one song."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from music_flamingo.corpora.cut_line import check_conversation
from music_flamingo.errors import UserError

_MIN_LEAK_LETTERS = 4
_OPTION_LINE = re.compile(r"^\s*(?:[-*•]\s*)?\(?[A-Za-z0-9]{1,2}[.):]\s.*$", re.MULTILINE)
_INLINE_OPTIONS = re.compile(r"\(?\bA[.)]\s.*\(?\bB[.)]\s.*", re.DOTALL)
_DEGREE = re.compile(r"\bhow\s+\w+", re.IGNORECASE)
"""How fast, how loud: a scale is named, not a place on it."""
_LETTER = re.compile(r"^\(?([A-Za-z])[.):]*(?:\s+(.*))?$", re.DOTALL)
_ARTICLES = frozenset({"a", "an", "the"})
_JUDGEMENTS = frozenset({"yes", "no", "true", "false", "none"})


class TextProblem(NamedTuple):
    """What is wrong, and with which conversation."""

    kind: str
    detail: str
    conversation: str | None


def text_problems(conversations: Sequence[Any]) -> Iterator[TextProblem]:
    """Everything that is wrong with a song's conversations, as they stand in its manifest."""
    sound = []
    for number, conversation in enumerate(conversations):
        try:
            check_conversation(conversation, f"conversations[{number}]")
        except UserError as error:
            yield TextProblem("bad_conversation", str(error), _id_of(conversation))
        else:
            sound.append(conversation)
    for conversation in sound:
        for kind, detail in _problems(conversation):
            yield TextProblem(kind, detail, conversation["id"])
    yield from _repeats(sound)


def _id_of(conversation: Any) -> str | None:
    found = conversation.get("id") if isinstance(conversation, Mapping) else None
    return found if isinstance(found, str) else None


def _problems(conversation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    question, answer = conversation["question"], conversation["answer"]
    for field in ("question", "answer"):
        if not conversation[field].strip():
            yield "empty_text", f"{field} holds no words"
            return
    options = conversation.get("options")
    texts = [str(option) for option in options] if isinstance(options, list | tuple) else []
    if texts and not is_among(answer, texts):
        yield "answer_not_in_options", f"{answer!r} is none of {', '.join(map(repr, texts))}"
    if conversation["task"] != "caption" and tells_answer(question, answer, texts):
        yield "label_leak", f"{answer!r} stands in the question {' '.join(question.split())[:120]!r}"


def _repeats(conversations: Iterable[Mapping[str, Any]]) -> Iterator[TextProblem]:
    seen: dict[tuple[str, ...], str] = {}
    for conversation in conversations:
        key = (*words(conversation["question"]), "\n", *words(conversation["answer"]))
        if key in seen:
            yield TextProblem("duplicate_text", f"the same as conversation {seen[key]}", conversation["id"])
        seen.setdefault(key, conversation["id"])


def is_among(answer: str, options: Sequence[str]) -> bool:
    """Whether an answer is one of the options: its text whatever the case and punctuation, or its letter."""
    wanted = words(answer)
    if any(wanted == words(option) for option in options) or answer in options:
        return True
    letter = _LETTER.match(answer.strip())
    if letter is None:
        return False
    number = ord(letter[1].upper()) - ord("A")
    if number >= len(options):
        return False
    return letter[2] is None or words(letter[2]) in (words(options[number]), words(options[number])[1:])


def tells_answer(question: str, answer: str, options: Sequence[str]) -> bool:
    """Whether the answer stands in its own question, word for word, beside the options.

    Not counted: yes, no, true, false and none; answers with fewer than four letters, such as keys, numbers and
    options' letters, which stand in questions by chance; and sentences that name alternatives ("flute or violin?"),
    which are those with an "or" and those where a second option stands too.
    """
    wanted = _content(answer)
    if sum(letter.isalpha() for word in wanted for letter in word) < _MIN_LEAK_LETTERS or set(wanted) <= _JUDGEMENTS:
        return False
    others = [other for other in map(_content, options) if other and other != wanted]
    for sentence in re.split(r"[.?!;\n]", without_options(question)):
        asked = _content(_DEGREE.sub("", sentence))
        offers_choice = "or" in asked or any(_stands_in(other, asked) for other in others)
        if _stands_in(wanted, asked) and not offers_choice:
            return True
    return False


def without_options(question: str) -> str:
    """The question without a list of options, one on each line or in one."""
    return _INLINE_OPTIONS.sub("", _OPTION_LINE.sub("", question))


def words(text: str) -> tuple[str, ...]:
    """Words in small letters, without punctuation; musical signs stay."""
    return tuple(re.findall(r"[\w#♯♭/']+", text.casefold()))


def _content(text: str) -> tuple[str, ...]:
    return tuple(word for word in words(text) if word not in _ARTICLES)


def _stands_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    return any(tuple(whole[start : start + len(part)]) == tuple(part) for start in range(len(whole)))
