"""Lists as TinyMU trains on them, MusicSkills-3.5M among them.

    [{"file_name": "a.wav", "input_text": "What ...?", "target_text": "...", "dataset": "MusicCaps", "task": "MCQ"}]

These five fields are assumed; `dataset` and `task` may be absent. `dataset` is the source, `task` the question's name:
one that speaks of captions makes a caption. Other fields are kept.

Source: the training code of TinyMU (arXiv:2604.15849).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from music_flamingo.corpora.formats.fields import record_of, sounds_of, text_fields
from music_flamingo.corpora.formats.record import Format, Record
from music_flamingo.corpora.formats.streams import TABLE_SUFFIXES, table_rows

_USED = frozenset({"input_text", "target_text"})


def list_records(row: Mapping[str, Any]) -> Iterable[Record]:
    """The record of one entry of a list.

    Raises:
        NotImportedError: no question or target.
    """
    question, target = text_fields(row, "input_text", "target_text")
    return (record_of(row, sounds_of(row), ((question, target),), _USED),)


MUSIC_SKILLS = Format(
    expects="records with file_name, input_text and target_text",
    suffixes=TABLE_SUFFIXES,
    rows=table_rows,
    accepts=lambda row: {"file_name", "input_text", "target_text"} <= row.keys(),
    records=list_records,
)
