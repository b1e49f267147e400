r"""Conversations as Hugging Face datasets and Music Flamingo's own write them.

JSON arrays, JSON lines or Parquet of records such as

    {"id": "x1", "sound": "a.wav", "conversations": [{"from": "human", "value": "<sound>\nWhat ...?"},
                                                     {"from": "gpt", "value": "..."}]}

or with `messages` of `role` and `content`. The sound may stand under other usual names (`fields.SOUND_FIELDS`), as a
path, a list of paths, or a mapping with a `path`; `start` with `duration` or `end` makes it an excerpt. `task`,
`question_name`, `form`, `options`, `piece`, `split`, `source`, `licence`, `system` and `metadata` are read where they
are there, and other fields are kept.

Source: Music Flamingo (arXiv:2511.10289), MF-Think's targets; LLaVA's conversation lists, which they follow.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from music_flamingo.corpora.formats.chat_messages import has_messages, message_records
from music_flamingo.corpora.formats.fields import record_of, sounds_of
from music_flamingo.corpora.formats.record import Format, NotImportedError, Record
from music_flamingo.corpora.formats.streams import TABLE_SUFFIXES, table_rows
from music_flamingo.corpora.formats.turns import turns_of

_USED = frozenset({"conversations"})


def conversation_records(row: Mapping[str, Any]) -> Iterable[Record]:
    """The record of a row with `conversations` or `messages`.

    Raises:
        NotImportedError: the messages are no conversation.
    """
    if "conversations" not in row:
        return message_records(row)
    try:
        messages = [(message["from"], message["value"]) for message in row["conversations"]]
    except (TypeError, KeyError) as error:
        raise NotImportedError("conversations that are no messages with from and value") from error
    system, turns = turns_of(messages)
    return (record_of(row, sounds_of(row), turns, _USED, system=system),)


HUGGING_FACE = Format(
    expects="records with conversations or messages",
    suffixes=TABLE_SUFFIXES,
    rows=table_rows,
    accepts=lambda row: "conversations" in row or has_messages(row),
    records=conversation_records,
)
