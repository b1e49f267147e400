"""What every published format is read into, before it is known which songs it speaks of."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

Row = tuple[str, Any]
"""Where a record stands ("file:line" or "file:number of the record"), and the record as JSON."""


class NotImportedError(Exception):
    """One record cannot be used; the message is the reason under which it is counted."""


class Sound(NamedTuple):
    """An audio file, or an excerpt of one.

    Attributes:
        path: as the record writes it.
        start: seconds at which an excerpt begins; None for the whole file.
        duration: seconds of the excerpt, None up to the file's end; of a whole file, its length where it is told.
        sampling_rate: of the file, where it is told.
    """

    path: str
    start: float | None = None
    duration: float | None = None
    sampling_rate: int | None = None


class Record(NamedTuple):
    """One conversation about one or several sounds.

    Attributes:
        sounds: what is heard; empty where the conversation is text only.
        turns: questions and answers, as they are written.
        id: of the conversation.
        system: the system message.
        task: "caption", "qa" or a name of the dataset's own.
        question_name: what the question is about, or the skill it asks for.
        form: "open", "binary", "multiple_choice" or "caption".
        options: texts of a multiple choice.
        piece: the song; sounds of one piece are never in two splits.
        metadata: field name -> value of the song's description.
        custom: fields of the cut rather than of the conversation.
        extra: every field that no other attribute holds.
    """

    sounds: tuple[Sound, ...]
    turns: tuple[tuple[str, str], ...]
    id: str | None = None
    system: str | None = None
    task: str | None = None
    question_name: str | None = None
    form: str | None = None
    options: tuple[str, ...] = ()
    piece: str | None = None
    split: str | None = None
    source: str | None = None
    licence: str | None = None
    metadata: Mapping[str, Any] | None = None
    custom: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Format:
    """How files of one published format become records.

    Attributes:
        expects: what a record must hold, for the message to who chose another format.
        suffixes: names of files in a folder that are read.
        rows: a file's records, one at a time.
        accepts: whether a row can be of this format, asked of the first one.
        records: a row's records; raises NotImportedError.
    """

    expects: str
    suffixes: tuple[str, ...]
    rows: Callable[[Path], Iterator[Row]]
    accepts: Callable[[Mapping[str, Any]], bool]
    records: Callable[[Mapping[str, Any]], Iterable[Record]]
