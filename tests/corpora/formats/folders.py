"""Folders of tiny sounds, and what importing them makes, read back by lhotse."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import CutSet
from lhotse.cut import Cut

from music_flamingo.corpora.formats.importing import import_command
from music_flamingo.corpora.formats.song_splits import SPLITS

GOLDEN = Path(__file__).parent / "golden"


def write_sounds(folder: Path, *names: str, seconds: float = 1.0, rate: int = 8000, channels: int = 1) -> Path:
    """Quiet wav files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full((round(seconds * rate), channels), 0.1), rate)
    return folder


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(sound: Any = "a.wav", question: str = "What?", answer: str = "A flute.", **fields: Any) -> dict[str, Any]:
    """A record of one turn."""
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"sound": sound, "conversations": turns, **fields}


def cuts_of(corpus: Path, split: str = "train") -> list[Cut]:
    """The cuts of a split."""
    return list(CutSet.from_jsonl(corpus / f"cuts_{split}.jsonl"))


def import_all(format: str, source: Path, out: Path, audio_root: Path, **options: Any) -> list[Cut]:
    """Everything as one split."""
    import_command(format, source, out, audio_root=audio_root, split="train", **options)
    return cuts_of(out)


def import_rows(folder: Path, *rows: Any, **options: Any) -> list[Cut]:
    """The cuts of some records about sounds in `folder`."""
    return import_all("hf", write_rows(folder / "rows.jsonl", rows), folder / "corpus", folder, **options)


def all_cuts(corpus: Path) -> dict[str, list[Cut]]:
    """Split -> its cuts."""
    return {split: cuts_of(corpus, split) for split in SPLITS}


def record_of_import(corpus: Path) -> dict[str, Any]:
    """`import.json`."""
    return json.loads((corpus / "import.json").read_text())  # type: ignore[no-any-return]


def left_out(corpus: Path) -> dict[str, int]:
    """Reason -> count."""
    return {reason: entry["count"] for reason, entry in record_of_import(corpus)["left_out"].items()}
