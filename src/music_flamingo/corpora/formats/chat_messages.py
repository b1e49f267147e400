"""Chat messages with audio among their parts, as TRL and OpenAI's interface write them.

    {"messages": [{"role": "system", "content": "..."},
                  {"role": "user", "content": [{"type": "audio", "audio": "a.wav"}, {"type": "text", "text": "..."}]},
                  {"role": "assistant", "content": "..."}]}

A part of type `audio`, `input_audio` or `audio_url` names a file (`audio`, `path`, `url`, or a mapping with one of
them). Where no part names one, they stand for the row's own `audio` or `audios`. TRL's `prompt` and `completion` are
one list of messages. With several sounds, `<sound-1>`, `<sound-2>` are written where they stood.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from music_flamingo.corpora.formats.fields import first_of, path_of, record_of, sounds_of
from music_flamingo.corpora.formats.record import Format, NotImportedError, Record, Sound
from music_flamingo.corpora.formats.streams import TABLE_SUFFIXES, table_rows
from music_flamingo.corpora.formats.turns import turns_of

AUDIO_TYPES = ("audio", "input_audio", "audio_url")
_USED = frozenset({"messages", "prompt", "completion"})


def has_messages(row: Mapping[str, Any]) -> bool:
    """Whether a row holds a list of messages."""
    return isinstance(row.get("messages"), list) or isinstance(row.get("prompt"), list)


def message_records(row: Mapping[str, Any]) -> Iterable[Record]:
    """The record of a row with messages.

    Raises:
        NotImportedError: the messages are no conversation, or hold something else than text and audio.
    """
    messages = row["messages"] if "messages" in row else _joined(row.get("prompt"), row.get("completion"))
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise NotImportedError("messages that are no list")
    several = sum(map(_count_sounds, messages)) > 1
    named: list[Sound | None] = []
    spoken = [(message.get("role"), _text_of(message.get("content"), named, several)) for message in messages]
    system, turns = turns_of(spoken)
    return (record_of(row, _sounds(row, named), turns, _USED, system=system),)


def _sounds(row: Mapping[str, Any], named: list[Sound | None]) -> tuple[Sound, ...]:
    """Sounds of the parts, or the row's own where no part names one."""
    sounds = tuple(sound for sound in named if sound is not None)
    if len(sounds) == len(named) > 0:
        return sounds
    own = sounds_of(row)
    if sounds or (named and len(own) != len(named)):
        raise NotImportedError("another number of sounds than of audio parts")
    return own


def _joined(prompt: Any, completion: Any) -> Any:
    return [*prompt, *completion] if isinstance(prompt, list) and isinstance(completion, list) else prompt


def _count_sounds(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return sum(isinstance(part, dict) and part.get("type") in AUDIO_TYPES for part in parts)


def _text_of(content: Any, sounds: list[Sound | None], several: bool) -> str:
    """The text of a message; sounds of its parts are added to `sounds`, None where a part names none."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in AUDIO_TYPES:
            named = first_of(part, (*AUDIO_TYPES, "path", "url"))
            sounds.append(None if named is None else Sound(path_of(named)))
            if several:
                texts.append(f"<sound-{len(sounds)}>")
        else:
            raise NotImportedError(f"a part of type {kind}")
    return "\n".join(texts)


CHAT_MESSAGES = Format(
    expects="records with messages, or with prompt and completion",
    suffixes=TABLE_SUFFIXES,
    rows=table_rows,
    accepts=has_messages,
    records=message_records,
)
