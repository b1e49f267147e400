"""One line of a manifest, as a checked cut."""

import json
from pathlib import Path
from typing import Any

from lhotse import MonoCut, MultiCut, Recording
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item
from lhotse.utils import fastcopy

from music_flamingo.corpora.cut_fields import wrong_field
from music_flamingo.errors import UserError

CONVERSATION_FIELDS = ("id", "task", "question_name", "form", "question", "answer")
"""What every conversation of a cut must hold, as text."""
PLACEHOLDER = "<sound>"
"""Where a prompt holds audio; the chat template writes it, once for each song."""


def read_cut(line: str | bytes, place: str) -> Cut:
    """A song whose conversations can be asked.

    Args:
        line: the cut as JSON.
        place: file and line, for messages.

    Raises:
        UserError: the line is no such thing.
    """
    cut = parse_cut(line, place)
    for number, conversation in enumerate(cut.custom["conversations"]):
        check_conversation(conversation, f"{place}: custom.conversations[{number}]")
    return cut


def parse_cut(line: str | bytes, place: str) -> Cut:
    """A line of a manifest as a cut with a list of conversations, which may be anything.

    Raises:
        UserError: it is no cut, or has no conversations.
    """
    try:
        cut = deserialize_item(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: expected a cut as JSON, got {error.msg} at column {error.colno}: mend the line"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RecursionError) as error:
        raise UserError(f"{place}: expected a lhotse cut, got {type(error).__name__} {error}: mend the line") from error
    if not isinstance(cut, MonoCut | MultiCut) or not (cut.custom or {}).get("conversations"):
        raise UserError(
            f"{place}: expected a cut with custom.conversations, got none: add what is asked about the song"
        )
    complaint = wrong_field(cut)
    if complaint is not None:
        raise UserError(f"{place}: {complaint}: mend the line")
    return cut


def check_conversation(conversation: Any, place: str) -> None:
    """Raise a UserError that names the place unless a conversation holds all that is needed, as text."""
    for field in CONVERSATION_FIELDS:
        value = conversation.get(field) if isinstance(conversation, dict) else None
        if not isinstance(value, str):
            raise UserError(f"{place}.{field}: expected text, got {value!r}: add it")
        if PLACEHOLDER in value:
            raise UserError(
                f"{place}.{field}: expected words, got {PLACEHOLDER} in {value!r}: remove it, as the prompt puts the "
                "song before the question by itself"
            )


def with_paths_below(cut: Cut, folder: str | Path) -> Cut:
    """A cut whose relative audio paths, those of further sounds in `custom` too, are below `folder`."""
    cut = cut.with_recording_path_prefix(folder)
    sounds = {
        name: sound.with_path_prefix(folder)
        for name, sound in (cut.custom or {}).items()
        if isinstance(sound, Recording)
    }
    return fastcopy(cut, custom={**cut.custom, **sounds}) if sounds else cut
