"""Reading a corpus folder: its cuts, and the texts in them."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, MultiCut
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from music_flamingo.corpora.songbook.traces import think_text
from music_flamingo.errors import UserError

CONVERSATION_FIELDS = ("id", "task", "question_name", "form", "question", "answer")
"""What every conversation of a cut must hold, as text."""
PLACEHOLDER = "<sound>"
"""Where a prompt holds audio; the chat template writes it, once for each song."""


def read_cuts(corpus: str | Path, split: str) -> CutSet:
    """Cuts of one split, their audio paths made absolute or relative to the current folder as `corpus` is.

    Raises:
        UserError: the folder holds no such manifest, or a line of it is not a cut with conversations.
    """
    manifest = Path(corpus) / f"cuts_{split}.jsonl.gz"
    if not manifest.is_file():
        raise UserError(f"expected the {split} cuts in {manifest}, which does not exist: make a corpus there first")
    cuts = []
    try:
        with gzip.open(manifest, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                cuts.append(_read_cut(line, f"{manifest}:{number}"))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{manifest}: expected gzip-compressed JSON lines, got {error}: make the file again") from error
    return CutSet(cuts).with_recording_path_prefix(corpus)


def _read_cut(line: str, place: str) -> Cut:
    try:
        cut = deserialize_item(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: expected a cut as JSON, got {error.msg} at column {error.colno}: mend the line"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: expected a lhotse cut, got {type(error).__name__} {error}: mend the line") from error
    if not isinstance(cut, MonoCut | MultiCut) or not (cut.custom or {}).get("conversations"):
        raise UserError(
            f"{place}: expected a cut with custom.conversations, got none: add what is asked about the song"
        )
    for number, conversation in enumerate(cut.custom["conversations"]):
        _check_conversation(conversation, f"{place}: custom.conversations[{number}]")
    return cut


def _check_conversation(conversation: Any, place: str) -> None:
    for field in CONVERSATION_FIELDS:
        value = conversation.get(field) if isinstance(conversation, dict) else None
        if not isinstance(value, str):
            raise UserError(f"{place}.{field}: expected text, got {value!r}: add it")
        if PLACEHOLDER in value:
            raise UserError(
                f"{place}.{field}: expected words, got {PLACEHOLDER} in {value!r}: remove it, as the prompt puts the "
                "song before the question by itself"
            )


def iterate_texts(corpus: str | Path, split: str = "train") -> Iterator[str]:
    """Thoughts, questions and answers of a split, for training a tokenizer."""
    for cut in read_cuts(corpus, split):
        yield think_text(cut.custom.get("observations", []))
        for conversation in cut.custom["conversations"]:
            yield f"{conversation['question']} {conversation['answer']}"


def read_vocabulary(corpus: str | Path) -> dict[str, Any] | None:
    """What the corpus' words can say, by which thoughts and captions are judged; None where it does not tell.

    Raises:
        UserError: `vocabulary.json` is not JSON.
    """
    path = Path(corpus) / "vocabulary.json"
    if not path.is_file():
        return None
    try:
        vocabulary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: expected JSON, got {error.msg}: make the corpus again") from error
    return vocabulary
