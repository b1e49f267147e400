"""The songs of a corpus folder, read so that a line that is no song is a finding and not an end."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lhotse.cut import Cut

from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.corpora.cut_line import parse_cut
from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.songs import holds_split
from music_flamingo.errors import UserError

SPLITS = ("train", "val", "test")


def splits_of(corpus: Path) -> list[str]:
    """Splits that the folder holds.

    Raises:
        UserError: none.
    """
    found = [split for split in SPLITS if holds_split(corpus, split)]
    if not found:
        names = ", ".join(f"cuts_{split}.jsonl.gz" for split in SPLITS)
        raise UserError(f"{corpus}: expected a corpus folder with {names}, found none of them: check the path")
    return found


def read_songs(corpus: Path, split: str) -> Iterator[Cut | Finding]:
    """Cuts of a split, whose paths are as the manifest gives them, and a finding for each line that is none.

    Other forms of a corpus than lines of JSON are read as training reads them, up to the first mistake.
    """
    manifest = _manifest(corpus, split)
    if manifest is not None:
        yield from _read_lines(manifest, split)
        return
    try:
        yield from read_cuts(corpus, split)
    except UserError as error:
        yield Finding("bad_line", str(error), split=split)


def count_songs(corpus: Path, split: str) -> int | None:
    """Lines of a split's manifest; None where it has another form, or cannot be read to its end."""
    manifest = _manifest(corpus, split)
    if manifest is None:
        return None
    try:
        with _opened(manifest) as lines:
            return sum(1 for _ in lines)
    except (OSError, EOFError, zlib.error):
        return None


def _manifest(corpus: Path, split: str) -> Path | None:
    names = (corpus / f"cuts_{split}.jsonl.gz", corpus / f"cuts_{split}.jsonl")
    return next((path for path in names if path.is_file()), None)


def _opened(manifest: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(manifest) if manifest.suffix == ".gz" else manifest.open("rb")


def _read_lines(manifest: Path, split: str) -> Iterator[Cut | Finding]:
    number = 0
    try:
        with _opened(manifest) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _read_line(line, split, manifest.name, number)
    except (OSError, EOFError, zlib.error) as error:
        detail = f"cannot be read after line {number}: {error}"
        yield Finding("bad_line", detail, split=split, path=manifest.name)


def _read_line(line: bytes, split: str, name: str, number: int) -> Cut | Finding:
    place = f"{name}:{number}"
    try:
        return parse_cut(line.decode("utf-8"), place)
    except UnicodeDecodeError as error:
        detail = f"expected UTF-8, got {error.reason} at byte {error.start}"
        return Finding("bad_line", detail, split=split, path=place)
    except UserError as error:
        detail = str(error).removeprefix(f"{place}: ")
        return Finding("bad_line", detail, cut=_id_in(line), split=split, path=place)


def _id_in(line: bytes) -> str | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    found = fields.get("id") if isinstance(fields, dict) else None
    return found if isinstance(found, str) else None
