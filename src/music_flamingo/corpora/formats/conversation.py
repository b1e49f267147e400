"""A record's turns as a conversation of a cut, and a cut's conversation as turns again."""

import re
from collections.abc import Mapping
from typing import Any

from music_flamingo.corpora.formats.record import NotImportedError, Record
from music_flamingo.corpora.formats.turns import PLACEHOLDERS, Turns, listed_options, without_placeholders
from music_flamingo.rewards.normalise import normalise_text
from music_flamingo.think_tags import ANSWER_CLOSE, ANSWER_OPEN, TAGS, THINK_CLOSE, THINK_OPEN, parse_completion

FORMS = ("open", "binary", "multiple_choice", "caption")
CONVERSATION_KEYS = (
    *("id", "task", "question_name", "form", "question", "answer", "options", "follow_ups", "thoughts", "bridge"),
    *("system", "metadata", "source", "licence"),
)
"""What an importer writes into a conversation; a record's own field of such a name becomes `record_<name>`."""
_KEYS = frozenset(CONVERSATION_KEYS)
_THINK_REQUEST = re.compile(
    r"\s*Output the thinking process in <think> ?</think> and final answer in <answer> ?</answer>\.?\s*$"
)
"""What MF-Think appends to a question. Source: Music Flamingo (arXiv:2511.10289); a data module's style appends it."""
_LETTERED_TEXT = re.compile(r"(?:\(([A-Z])\)\s*|([A-Z])[.):]\s+(?=\S))(.*)", re.DOTALL)
_LETTER = re.compile(r"([A-Z])[.):]?")


def conversation_of(record: Record, default_task: str = "qa") -> dict[str, Any]:
    """The conversation of a cut, its `id` empty where the record has none.

    Thoughts stand apart from the answer, questions lose audio placeholders and the request to think, and the answer to
    a multiple choice is the option's text, as rewards compare it, also where the record names its letter
    (`answer_letter`). Options are left out where the answer is none of them.

    Raises:
        NotImportedError: a question or answer is empty, thoughts are not well formed, or an answer holds audio.
    """
    (asked, answered), *later = record.turns
    question = _question(asked)
    spoken = _answer(answered)
    task = record.task or default_task
    is_caption = "caption" in task.lower()
    options = [] if is_caption else list(record.options or listed_options(question))
    named = option_named(spoken["answer"], options) if options else None
    form = record.form if record.form in FORMS else _form(is_caption, bool(options), spoken["answer"])
    conversation: dict[str, Any] = {
        "id": record.id or "",
        "task": "caption" if is_caption else "qa",
        "question_name": record.question_name or task,
        "form": form,
        "question": question,
        **spoken,
    }
    letter = None
    if named is not None:
        conversation["options"] = options
        conversation["answer"], letter = named
    if later:
        conversation["follow_ups"] = [{"question": _question(asked), **_answer(answer)} for asked, answer in later]
    if record.system:
        conversation["system"] = without_placeholders(record.system)
    if record.metadata:
        conversation["metadata"] = {str(name): _listed(value) for name, value in record.metadata.items()}
    if letter:
        conversation["answer_letter"] = letter
    extra = {(f"record_{name}" if name in _KEYS else name): value for name, value in record.extra.items()}
    return conversation | extra


def turns_from(conversation: Mapping[str, Any]) -> Turns:
    """Questions and answers as a record writes them; the inverse of `conversation_of`, after its normalisation."""
    spoken = [conversation, *conversation.get("follow_ups", ())]
    return tuple((each["question"], _written(each)) for each in spoken)


def option_named(answer: str, options: list[str]) -> tuple[str, str | None] | None:
    """The option an answer names, and the letter where it names it by letter; None where it names none.

    A bare letter that is itself an option's text is that option: "D" may be a chord.
    """
    answer = answer.strip()
    texts = [normalise_text(option) for option in options]
    lettered = _LETTERED_TEXT.fullmatch(answer)
    if lettered is not None:
        letter = lettered[1] or lettered[2]
        said = normalise_text(lettered[3])
        number = ord(letter) - ord("A")
        if number < len(options) and said in ("", texts[number]):
            return options[number], letter
        if lettered[1] or said in texts:
            return None
    if normalise_text(answer) in texts:
        return answer, None
    alone = _LETTER.fullmatch(answer)
    number = ord(alone[1]) - ord("A") if alone else len(options)
    return (options[number], answer[0]) if number < len(options) else None


def _question(text: str) -> str:
    if THINK_OPEN in text:
        text = _THINK_REQUEST.sub("", text)
    question = without_placeholders(text)
    if not question:
        raise NotImportedError("no question")
    return question


def _answer(text: str) -> dict[str, str]:
    """`answer`, and `thoughts` and `bridge` where it has them."""
    if "<" not in text:
        spoken = {"answer": text.strip()}
    elif any(placeholder in text for placeholder in PLACEHOLDERS):
        raise NotImportedError("an answer that holds audio")
    elif any(tag in text for tag in TAGS):
        parts = parse_completion(text.strip())
        if not parts.well_formed:
            raise NotImportedError(f"thoughts: {parts.problem}")
        spoken = {"answer": parts.answer or "", "thoughts": parts.think or ""}
        if parts.bridge:
            spoken["bridge"] = parts.bridge
    else:
        spoken = {"answer": text.strip()}
    if not spoken["answer"]:
        raise NotImportedError("no answer")
    return spoken


def _written(spoken: Mapping[str, Any]) -> str:
    if "thoughts" not in spoken:
        return str(spoken["answer"])
    bridge = f" {spoken['bridge']}" if spoken.get("bridge") else ""
    thoughts = f"{THINK_OPEN}{spoken['thoughts']}{THINK_CLOSE}"
    return f"{thoughts}{bridge} {ANSWER_OPEN}{spoken['answer']}{ANSWER_CLOSE}"


def _form(is_caption: bool, has_options: bool, answer: str) -> str:
    if is_caption:
        return "caption"
    if has_options:
        return "multiple_choice"
    return "binary" if answer.lower().rstrip(".!") in ("yes", "no") else "open"


def _listed(value: Any) -> str:
    """A value of a song's description as text, list values separated by commas."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
