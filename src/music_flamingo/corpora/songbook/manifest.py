"""The files of a corpus folder: the same bytes for the same content, as no header holds a time or a name."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from music_flamingo.corpora.songbook.synthesis import SAMPLING_RATE


def cut_json(cut_id: str, audio: str, num_samples: int, custom: Mapping[str, Any]) -> dict[str, Any]:
    """A lhotse MonoCut over a whole mono recording.

    Written without lhotse, whose import takes longer than rendering a hundred clips.

    Args:
        cut_id: of the cut and of its recording.
        audio: path of the recording, relative to the corpus folder.
        num_samples: length of the recording.
        custom: what the cut carries beside its audio.
    """
    duration = num_samples / SAMPLING_RATE
    recording = {
        "id": cut_id,
        "sources": [{"type": "file", "channels": [0], "source": audio}],
        "sampling_rate": SAMPLING_RATE,
        "num_samples": num_samples,
        "duration": duration,
        "channel_ids": [0],
    }
    return {
        "id": cut_id,
        "start": 0,
        "duration": duration,
        "channel": 0,
        "supervisions": [],
        "recording": recording,
        "custom": dict(custom),
        "type": "MonoCut",
    }


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Gzipped JSON lines."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as archive:
        for row in rows:
            archive.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def write_json(path: Path, content: Any) -> None:
    """Indented JSON."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
