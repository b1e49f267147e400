"""What a benchmark asks about: ids, texts and audio of its items, from a corpus folder, JSON, JSON lines or CSV."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from music_flamingo.corpora.inspection.file_range import FileRange
from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.fingerprint import Excerpt
from music_flamingo.corpora.inspection.paths import escape
from music_flamingo.corpora.inspection.songs import SPLITS, read_songs, splits_of
from music_flamingo.corpora.shar.stored import place_of
from music_flamingo.errors import UserError

_ID_FIELDS = ("id", "ID", "item_id", "audio_id", "track_id", "ytid", "youtube_id", "uniq_id", "question_id")
_AUDIO_FIELDS = ("audio", "audio_path", "audio_file", "path", "file", "filename", "wav", "sound", "song", "audio_name")
_QUESTION_FIELDS = ("question", "Question", "prompt", "instruction", "question_content")
_ANSWER_FIELDS = ("answer", "Answer", "output", "answer_gt", "gt_answer", "label")
_TEXT_FIELDS = ("text", "caption", "description", "lyrics")


@dataclass(frozen=True)
class Item:
    """One item of a benchmark, or one song of a corpus.

    Attributes:
        name: what a reader finds it by.
        ids: by which it may be known elsewhere.
        asked: (question, answer) pairs; either may be "".
        audio: in a file that is there.
    """

    name: str
    ids: frozenset[str]
    asked: tuple[tuple[str, str], ...] = ()
    audio: Excerpt | None = None


def read_items(source: Path, *, allow_outside: bool = False) -> list[Item]:
    """Items of a corpus folder or of a manifest.

    Args:
        source: folder, .json, .jsonl or .csv.
        allow_outside: also read audio outside the manifest's folder.

    Raises:
        UserError: it is none of these, or holds no items.
    """
    if source.is_dir():
        return [song_item(cut, source, allow_outside=allow_outside) for cut in _songs(source)]
    records = list(_records(source))
    if not records:
        raise UserError(f"{source}: expected items with an id, a text or audio, found none: check the file")
    return [_item(record, number, source.parent, allow_outside) for number, record in enumerate(records)]


def song_item(cut: Cut, corpus: Path, *, allow_outside: bool) -> Item:
    """A song of a corpus; `ids` are those of cut and recording and the name of its file."""
    sources = cut.recording.sources if cut.has_recording else []
    named = sources[0].source if sources and isinstance(sources[0].source, str) and sources[0].type == "file" else None
    asked = tuple(
        (str(each.get("question", "")), str(each.get("answer", "")))
        for each in cut.custom["conversations"]
        if isinstance(each, dict)
    )
    ids = {cut.id, *([cut.recording.id] if cut.has_recording else []), *([] if named is None else [Path(named).stem])}
    place = place_of(cut)
    inside = None if place is None or not place.size else FileRange(place.tar, place.start, place.size)
    file = inside or _readable(named, corpus, allow_outside)
    return Item(cut.id, frozenset(ids), asked, None if file is None else Excerpt(file, cut.start, cut.duration))


def _songs(corpus: Path) -> Iterator[Cut]:
    for split in splits_of(corpus):
        yield from (cut for cut in read_songs(corpus, split) if not isinstance(cut, Finding))


def _records(source: Path) -> Iterable[Mapping[str, Any]]:
    if not source.is_file():
        splits = ", ".join(f"cuts_{split}" for split in SPLITS)
        raise UserError(f"{source}: expected a corpus folder ({splits}), .json, .jsonl or .csv, found nothing there")
    try:
        text = source.read_text(encoding="utf-8-sig")
        if source.suffix == ".csv":
            return list(csv.DictReader(text.splitlines()))
        if source.suffix == ".jsonl":
            return [record for line in text.splitlines() if line.strip() for record in _listed([json.loads(line)])]
        if source.suffix == ".json":
            return _listed(json.loads(text))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{source}: expected {source.suffix[1:]}, got {error}: mend the file") from error
    raise UserError(f"{source}: expected a corpus folder, .json, .jsonl or .csv: convert it")


def _listed(value: Any) -> list[Mapping[str, Any]]:
    """The records in a list, in the values of a mapping, or in the first of its values that has some."""
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict)]
    if not isinstance(value, dict):
        return []
    if value and all(isinstance(each, dict) for each in value.values()):
        return [{"id": name, **each} for name, each in value.items()]
    return next((found for each in value.values() if (found := _listed(each))), [])


def _item(record: Mapping[str, Any], number: int, root: Path, allow_outside: bool) -> Item:
    named = _texts(record, _ID_FIELDS)
    files = _texts(record, _AUDIO_FIELDS)
    paths = (_readable(file, root, allow_outside) for file in files)
    audio = next((Excerpt(path) for path in paths if path is not None), None)
    ids = frozenset([*named, *(Path(file).stem for file in files)])
    return Item(named[0] if named else f"item {number}", ids, tuple(_asked(record)), audio)


def _asked(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    turns = [str(turn.get("value", "")) for turn in record.get("conversations") or [] if isinstance(turn, dict)]
    yield from zip(turns[::2], turns[1::2], strict=False)
    question = next(iter(_texts(record, _QUESTION_FIELDS)), "")
    answer = next(iter(_texts(record, _ANSWER_FIELDS)), "")
    if question or answer:
        yield question, answer
    yield from (("", text) for text in _texts(record, _TEXT_FIELDS))


def _texts(record: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    values = (record.get(name) for name in names)
    return [str(value) for value in values if isinstance(value, str | int) and str(value).strip()]


def _readable(file: str | None, root: Path, allow_outside: bool) -> Path | None:
    if file is None or "\0" in file or (not allow_outside and escape(root, file) is not None):
        return None
    path = root / file
    return path if path.is_file() else None
