"""A folder of audio and a CSV file that says something about each of its sounds.

Columns: `path`, and `question` with `answer`, or `caption`, or all three; optional are `id`, `piece`, `split`,
`source`, `licence`, `task`, `question_name`, `start`, `duration`, and `options` separated by `|`. Other columns are
kept. A caption answers `CAPTION_QUESTION`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from music_flamingo.corpora.formats.fields import record_of, sounds_of
from music_flamingo.corpora.formats.record import Format, NotImportedError, Record
from music_flamingo.corpora.formats.streams import csv_rows

CAPTION_QUESTION = "Describe this music in detail."
_USED = frozenset({"question", "answer", "caption"})


def table_records(row: Mapping[str, Any]) -> Iterator[Record]:
    """A record for the question of a row, and one for its caption.

    Raises:
        NotImportedError: the row asks nothing, or has no answer.
    """
    question, answer, caption = row.get("question"), row.get("answer"), row.get("caption")
    if not caption and not question:
        raise NotImportedError("no question")
    if question and not answer:
        raise NotImportedError("no answer")
    listed = {**row, "options": [text.strip() for text in row["options"].split("|")]} if "options" in row else row
    if question and answer:
        yield record_of(listed, sounds_of(row), ((question, answer),), _USED)
    if caption:
        plain = {name: value for name, value in row.items() if name != "options"}
        asked = {"task": "caption", "form": "caption"}
        yield record_of(plain, sounds_of(row), ((CAPTION_QUESTION, caption),), _USED, **asked)


AUDIO_TABLE = Format(
    expects="the columns path and question with answer, or path and caption",
    suffixes=(".csv",),
    rows=csv_rows,
    accepts=lambda row: "path" in row,
    records=table_records,
)
