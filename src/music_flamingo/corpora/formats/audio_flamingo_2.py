"""Manifests of Audio Flamingo 2, `<Name>-<Task>/<split>.json`.

    {"split": "train", "split_path": "subdir", "flamingo_task": "Name-Task", "total_num": 1,
     "data": {"0": {"name": "a.wav", "prompt": "Question? (A) xxx. (B) yyy.", "output": "yyy",
                    "duration": 9.9, "audio_start": 0.0}}}

The audio lies at `split_path/name` below the audio root; `audio_start` and `duration` cut an excerpt out of it.
`flamingo_task` is both the source and the question's name. `total_num` is not believed.

Source: the README of NVIDIA/audio-flamingo, branch audio_flamingo_2.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from music_flamingo.corpora.formats.fields import path_of, record_of, sounds_of, text_fields
from music_flamingo.corpora.formats.record import Format, Record, Row
from music_flamingo.corpora.formats.streams import json_entries, json_fields
from music_flamingo.errors import UserError

_HEADER = ("split", "split_path", "flamingo_task")
_USED = frozenset({"key", "name", "prompt", "output", "dataset_task"})


def manifest_rows(path: Path) -> Iterator[Row]:
    """Entries of `data`, each with the manifest's own fields.

    Raises:
        UserError: malformed, or `split_path` or `flamingo_task` is missing.
    """
    header = json_fields(path, _HEADER)
    for name in _HEADER[1:]:
        if name not in header:
            raise UserError(f"{path}: expected the field {name} of an Audio Flamingo 2 manifest, got none: add it")
    shared = {"split": header.get("split"), "folder": header["split_path"], "dataset_task": header["flamingo_task"]}
    for place, entry in json_entries(path, "data"):
        yield place, {**entry, **shared} if isinstance(entry, dict) else entry


def manifest_records(row: Mapping[str, Any]) -> Iterable[Record]:
    """The record of one entry.

    Raises:
        NotImportedError: no name, prompt or output.
    """
    prompt, output = text_fields(row, "prompt", "output")
    path = str(PurePosixPath(str(row["folder"]), path_of(row.get("name"))))
    located = {**row, "sound": path}
    name = str(row["dataset_task"])
    record = record_of(
        {field: value for field, value in row.items() if field != "folder"},
        sounds_of(located),
        ((prompt, output),),
        _USED,
        id=str(row["key"]),
        task="caption" if "caption" in name.lower() else "qa",
        question_name=name,
        source=name,
    )
    return (record,)


AUDIO_FLAMINGO_2 = Format(
    expects="entries with name, prompt and output",
    suffixes=(".json", ".json.gz"),
    rows=manifest_rows,
    accepts=lambda row: {"name", "prompt", "output"} <= row.keys(),
    records=manifest_records,
)
