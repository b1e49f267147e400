"""`music-flamingo data shar` and `data shar-index`: a corpus in shards, and the index of shards that are there already.

DIR/shar.json                       what was stored and how, so that an interrupted run goes on with nothing else
DIR/<split>/cuts.000000.jsonl       lhotse Shar, as `CutSet.from_shar(in_dir=DIR/<split>)` reads it
DIR/<split>/recording.000000.tar
DIR/<split>.index/                  where each song lies
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.places import is_url
from music_flamingo.corpora.shar.index import ARRAYS, make_index, shards_of
from music_flamingo.corpora.shar.shards import AudioFormat, recordings_of, write_shard
from music_flamingo.corpora.song_lines import Songs
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from music_flamingo.whole_files import write_text

PLAN = "shar.json"
COPIED = ("vocabulary.json", "corpus.json")
_MANIFEST = re.compile(r"cuts_(.+)\.jsonl(?:\.gz)?")


def shar_command(corpus: str, out: Path, *, shard_size: int = 1000, audio: AudioFormat = "original") -> None:
    """Store a corpus as lhotse Shar with an index, for fast access to any song on disks and in object stores.

    Args:
        corpus: a corpus folder.
        out: folder to make; one that was interrupted is gone on with.
        shard_size: songs in a shard.
        audio: original keeps the files' own bytes; flac and opus encode anew what of them the songs are.
    """
    if shard_size < 1:
        raise UserError(f"--shard_size: expected at least 1 song, got {shard_size}")
    if not is_url(corpus) and Path(corpus).resolve() == out.resolve():
        raise UserError(f"--out: expected another folder than the corpus, got {out}")
    splits = {split: open_songs(corpus, split) for split in splits_of(corpus)}
    plan = _plan_of(splits, out, {"shard_size": shard_size, "audio": audio})
    for left in out.glob("*.partial"):
        shutil.rmtree(left)
    for split, songs in splits.items():
        _write_split(songs, plan["fields"], out / split, shard_size, audio)
        if not (out / f"{split}.index" / ARRAYS).exists():
            make_index(str(out / split))
    for name in COPIED:
        if not is_url(corpus) and (Path(corpus) / name).is_file():
            shutil.copyfile(Path(corpus) / name, out / name)
    counts = ", ".join(f"{len(songs)} {split} songs" for split, songs in splits.items())
    print(f"{out}: {counts}")


def shar_index_command(corpus: str) -> None:
    """Index the Shar splits of a folder, so that any of their songs can be read at once.

    Args:
        corpus: folder with a folder of shards for each split, or its URL.
    """
    for split in splits_of(corpus, only_shar=True):
        index = make_index(f"{corpus.rstrip('/')}/{split}")
        hours = index.arrays["duration"].sum() / 3600
        print(f"{split}: {len(index.arrays['duration'])} songs in {len(index.shards)} shards, {hours:.1f} hours")


def splits_of(corpus: str, *, only_shar: bool = False) -> list[str]:
    """Names of a corpus' splits, in the order of the alphabet.

    Raises:
        UserError: there are none.
    """
    files, path = url_to_fs(corpus)
    entries = files.ls(path, detail=True) if files.isdir(path) else []
    names = set()
    for entry in entries:
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if entry["type"] != "file" and shards_of(f"{str(corpus).rstrip('/')}/{name}"):
            names.add(name)
        elif not only_shar and (found := _MANIFEST.fullmatch(name)):
            names.add(found[1])
    if not names:
        raise UserError(f"{corpus}: expected the cuts of a corpus, got none: check the folder")
    return sorted(names)


def _plan_of(splits: Mapping[str, Songs], out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What is stored and how, as written in `out` from the first run on.

    Raises:
        UserError: `out` is that of another corpus or other settings.
    """
    hashes = {split: hashlib.sha256(songs.durations.tobytes()).hexdigest() for split, songs in splits.items()}
    wanted = {**settings, "songs": {split: len(songs) for split, songs in splits.items()}, "durations": hashes}
    path = out / PLAN
    if path.exists():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in wanted.items() if plan.get(name) != value]
        if other:
            raise UserError(
                f"{path}: expected what is to be stored now, got other {', '.join(other)}: remove {out}, or choose "
                "another --out"
            )
        return plan
    # lhotse wants every field in every shard, so all songs are looked at before the first is stored.
    console = Console(stderr=True)
    fields = {"recording"}
    for split, songs in splits.items():
        for song in track(songs, f"looking at {split}", console=console):
            fields.update(recordings_of(song))
    plan = {**wanted, "fields": ["recording", *sorted(fields - {"recording"})]}
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plan, indent=1) + "\n")
    return plan


def _write_split(songs: Songs, fields: list[str], folder: Path, shard_size: int, audio: AudioFormat) -> None:
    """Write the shards that are not there yet. A shard's cuts come to their place last, and say that it is whole."""
    partial = folder.with_name(f"{folder.name}.partial")
    starts = range(0, max(1, len(songs)), shard_size)
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(track(starts, f"storing {folder.name}", console=Console(stderr=True))):
        if (folder / f"cuts.{number:06d}.jsonl").exists():
            continue
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shard = (songs[song] for song in range(start, min(start + shard_size, len(songs))))
        for name in write_shard(shard, fields, partial, number, audio):
            (partial / name).replace(folder / name)
    shutil.rmtree(partial, ignore_errors=True)
