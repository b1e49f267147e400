"""Fields that published formats share: where the sound is, which excerpt of it, and what else a record tells."""

import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from music_flamingo.corpora.formats.record import NotImportedError, Record, Sound
from music_flamingo.corpora.formats.turns import Turns

SOUND_FIELDS = (
    *("sound", "sounds", "audio", "audios", "audio_path", "audio_file", "audio_filepath", "audio_url"),
    *("file_name", "path"),
)
START_FIELDS = ("start", "audio_start", "start_time")
END_FIELDS = ("end", "audio_end", "end_time")
_EXCERPT_FIELDS = frozenset((*START_FIELDS, *END_FIELDS))
_ATTRIBUTES = {
    **{name: name for name in ("id", "task", "question_name", "form", "piece", "split", "source", "licence", "system")},
    "dataset": "source",
    "license": "licence",
}
"""Field -> the record's attribute that it is, where it is there as text."""
_STRUCTURED = {"options": list, "metadata": dict, "custom": dict}
"""Field -> what it has to be; otherwise it is kept like fields that nothing is known of."""
_READ = frozenset(("duration", "sampling_rate", *SOUND_FIELDS, *_EXCERPT_FIELDS))


def first_of(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first of these fields that is there and not empty; None where none is."""
    for name in names:
        value = row.get(name)
        if value not in (None, "", []):
            return value
    return None


def sounds_of(row: Mapping[str, Any]) -> tuple[Sound, ...]:
    """The sounds a row names; an excerpt where it tells a start. A `duration` alone is the length of the file.

    Raises:
        NotImportedError: a sound is not a path, or a time is no time.
    """
    named = first_of(row, SOUND_FIELDS)
    if named is None:
        return ()
    paths = [path_of(each) for each in (named if isinstance(named, list) else [named])]
    is_excerpt = not _EXCERPT_FIELDS.isdisjoint(row)
    if len(paths) > 1:
        if is_excerpt and first_of(row, _EXCERPT_FIELDS) is not None:
            raise NotImportedError("an excerpt of several sounds")
        return tuple(Sound(path) for path in paths)
    rate = row.get("sampling_rate")
    rate = rate if isinstance(rate, int) and rate > 0 else None
    duration = _seconds(row.get("duration"), "duration")
    if not is_excerpt:
        return (Sound(paths[0], None, duration, rate),)
    start = _seconds(first_of(row, START_FIELDS), "start")
    end = _seconds(first_of(row, END_FIELDS), "end")
    if end is not None:
        start = start or 0.0
        duration = end - start
    return (Sound(paths[0], start, duration, rate),)


def path_of(named: Any) -> str:
    """The path of one sound, be it a path, a `file:` address or a mapping with one.

    Raises:
        NotImportedError: audio embedded in the record, elsewhere on the network, or nothing of the kind.
    """
    if isinstance(named, dict):
        path = first_of(named, ("path", "url", "audio", "audio_url", "file"))
        if path is None:
            embedded = named.get("bytes") or named.get("data") or named.get("array")
            raise NotImportedError("audio embedded in the record" if embedded else "no sound file named")
        return path_of(path)
    if not isinstance(named, str) or not named:
        raise NotImportedError("no sound file named")
    scheme, colon, rest = named.partition(":")
    if colon and scheme == "data":
        raise NotImportedError("audio embedded in the record")
    if rest.startswith("//"):
        if scheme != "file":
            raise NotImportedError("audio on the network")
        return unquote(rest.removeprefix("//"))
    return named


def record_of(
    row: Mapping[str, Any],
    sounds: tuple[Sound, ...],
    turns: Turns,
    used: frozenset[str],
    **told: Any,
) -> Record:
    """A record of a row whose sounds and turns are known.

    Args:
        row: the record as published.
        sounds: what is heard.
        turns: what is said.
        used: fields that the format has read; they are not kept once more.
        told: attributes of the record that the format knows better than the row; None where it does not.
    """
    read: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in row.items():
        attribute = _ATTRIBUTES.get(name)
        if value is None or value == "":
            continue
        if attribute is not None:
            if name == attribute or attribute not in read:
                read[attribute] = str(value)
        elif name in _STRUCTURED and isinstance(value, _STRUCTURED[name]):
            read[name] = value
        elif name not in _READ and name not in used:
            extra[name] = value
    if "options" in read:
        read["options"] = tuple(map(str, read["options"]))
    read |= {name: value for name, value in told.items() if value is not None}
    return Record(sounds, turns, extra=extra, **read)


def text_fields(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """The texts of these fields.

    Raises:
        NotImportedError: one is missing or no text.
    """
    texts = tuple(row.get(name) for name in names)
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str):
            raise NotImportedError(f"no {name}")
    return texts  # type: ignore[return-value]


def _seconds(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise NotImportedError(f"{name} is no time")
    return seconds
