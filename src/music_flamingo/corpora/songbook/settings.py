"""What a songbook is made of, and whether a folder holds just that."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from music_flamingo.errors import UserError

VERSION = 5
"""Raised whenever the same settings make another corpus."""

MIN_CLIPS = 20
MIN_CLIP_SECONDS = 6.0
MIN_FULL_SECONDS, MAX_FULL_SECONDS = 60, 600


@dataclass(frozen=True)
class SongbookSettings:
    """What a songbook is made of.

    Args:
        clips: excerpts in train, validation and test together.
        clip_seconds: length of each.
        full_pieces: long renderings beside the clips.
        full_seconds: shortest and longest of them, 60 to 600.
        seed: another seed chooses other pieces and other renderings.
        workers: processes; None takes one for each core. Does not change the result.
        soundfont: General MIDI .sf2 file; None takes the one that pretty_midi ships.

    Raises:
        UserError: a value out of its range.
    """

    clips: int = 2800
    clip_seconds: float = 10.0
    full_pieces: int = 24
    full_seconds: tuple[int, int] = (120, 200)
    seed: int = 0
    workers: int | None = None
    soundfont: Path | None = None

    def __post_init__(self) -> None:
        """Refuse values that no songbook can be made with."""
        low, high = self.full_seconds
        _require(self.clips >= MIN_CLIPS, f"clips: expected {MIN_CLIPS} or more, got {self.clips}")
        _require(
            self.clip_seconds >= MIN_CLIP_SECONDS,
            f"clip_seconds: expected {MIN_CLIP_SECONDS:g} or more, so that two entries and a change fit, "
            f"got {self.clip_seconds:g}",
        )
        _require(self.full_pieces >= 0, f"full_pieces: expected 0 or more, got {self.full_pieces}")
        _require(
            MIN_FULL_SECONDS <= low <= high <= MAX_FULL_SECONDS,
            f"full_seconds: expected shortest and longest between {MIN_FULL_SECONDS} and {MAX_FULL_SECONDS}, "
            f"got {low} and {high}",
        )
        _require(self.workers is None or self.workers > 0, f"workers: expected 1 or more, got {self.workers}")


def identity(settings: SongbookSettings, soundfont: Path) -> dict[str, Any]:
    """What decides about the content of a corpus, as `corpus.json` records it.

    Raises:
        UserError: there is no such soundfont.
    """
    if not soundfont.is_file():
        raise UserError(f"soundfont: expected a General MIDI .sf2 file, found none at {soundfont}; mend the path")
    return {
        "version": VERSION,
        "seed": settings.seed,
        "clips": settings.clips,
        "clip_seconds": settings.clip_seconds,
        "full_pieces": settings.full_pieces,
        "full_seconds": list(settings.full_seconds),
        "soundfont_sha256": hashlib.sha256(soundfont.read_bytes()).hexdigest(),
    }


def is_built(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds the corpus of that identity; False where there is nothing.

    Raises:
        UserError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    record = out / "corpus.json"
    if not record.is_file():
        raise UserError(f"out: expected a new or empty folder, {out} holds something else; name another")
    found = json.loads(record.read_text(encoding="utf-8"))["settings"]
    for field, value in wanted.items():
        if found.get(field) != value:
            raise UserError(
                f"out: expected a new folder or a songbook with {field} {value}, {record} says "
                f"{found.get(field)}; name another folder, or remove this one"
            )
    return True


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise UserError(message)
