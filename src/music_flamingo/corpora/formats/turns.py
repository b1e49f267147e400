"""From the messages of a conversation to questions with their answers, and the options a question lists."""

import re
from collections.abc import Iterable
from typing import Any

from music_flamingo.corpora.formats.record import NotImportedError

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model"), "assistant"),
    "system": "system",
}
PLACEHOLDERS = ("<sound>", "<audio>")
"""Where prompts of published datasets hold audio; here the chat template writes it, once for each song."""

_PLACEHOLDER = re.compile(rf"\s*(?:{'|'.join(PLACEHOLDERS)})\s*")
_LETTERED = (re.compile(r"\(([A-Z])\)\s*"), re.compile(r"^[ \t]*([A-Z])[.)]\s+", re.MULTILINE))
_MIN_OPTIONS = 2

Turns = tuple[tuple[str, str], ...]


def turns_of(messages: Iterable[tuple[Any, Any]]) -> tuple[str | None, Turns]:
    """The system message and the turns of (role, text) messages.

    Raises:
        NotImportedError: an unknown role, a message that is no text, or questions and answers do not alternate.
    """
    system: str | None = None
    spoken: list[str] = []
    for name, text in messages:
        role = ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise NotImportedError(f"a message from {name!r}")
        if not isinstance(text, str):
            raise NotImportedError("a message without text")
        if role == "system" and system is None and not spoken:
            system = text
        elif role == ("assistant" if len(spoken) % 2 else "user"):
            spoken.append(text)
        else:
            raise NotImportedError("questions and answers do not alternate")
    if not spoken or len(spoken) % 2:
        raise NotImportedError("no answer" if spoken else "no question")
    return system, tuple(zip(spoken[::2], spoken[1::2], strict=True))


def without_placeholders(text: str) -> str:
    """The text without `<sound>` and `<audio>` and without space around it; names such as `<sound-1>` stay."""
    text = text.removeprefix(PLACEHOLDERS[0])
    if PLACEHOLDERS[0] in text or PLACEHOLDERS[1] in text:
        text = _PLACEHOLDER.sub(" ", text)
    return text.strip()


def listed_options(question: str) -> tuple[str, ...]:
    """Options of a question that lists them as "(A) one. (B) two." or in lines "A. one"; empty where it lists none."""
    if "B" not in question:
        return ()
    for pattern in _LETTERED:
        options = _options_after(question, list(pattern.finditer(question)))
        if options:
            return options
    return ()


def _options_after(question: str, letters: list[re.Match[str]]) -> tuple[str, ...]:
    """Text from each letter to the next, the last one's to the end of its line; empty unless they run from A on."""
    expected = [chr(ord("A") + number) for number in range(len(letters))]
    if len(letters) < _MIN_OPTIONS or [match[1] for match in letters] != expected:
        return ()
    ends = [match.start() for match in letters[1:]] + [len(question)]
    texts = [question[match.end() : end].strip() for match, end in zip(letters, ends, strict=True)]
    options = tuple(text.partition("\n")[0].strip().removesuffix(".").rstrip(" ,;") for text in texts)
    return options if all(options) else ()
