"""`music-flamingo data import`: a published dataset becomes a corpus folder, one cut for each song or excerpt.

    DIR/cuts_{train,val,test}.jsonl  lhotse manifests, paths relative to DIR where audio lies below it
    DIR/import.json                  what was imported, from where, what was left out and why

Records are read once and spread over files by song, then grouped one file at a time: memory stays small however many
there are. The same input gives the same bytes. Manifests appear only when they are complete.
"""

import gc
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.formats.audio_files import AudioFiles, stem
from music_flamingo.corpora.formats.conversation import conversation_of
from music_flamingo.corpora.formats.left_out import LeftOut
from music_flamingo.corpora.formats.published import format_named, read_records, source_files
from music_flamingo.corpora.formats.record import Format, NotImportedError, Record
from music_flamingo.corpora.formats.song_buckets import NUM_BUCKETS, SongBuckets
from music_flamingo.corpora.formats.song_cuts import Entry, SongCuts
from music_flamingo.corpora.formats.song_splits import SPLITS, SongSplits, known_split
from music_flamingo.errors import UserError

TASKS = ("qa", "caption")


@dataclass(frozen=True)
class Defaults:
    """What holds for records that do not say.

    Args:
        task: "qa" or "caption".
        source: None for the file's name.
        licence: of the audio and the texts.
    """

    task: str = "qa"
    source: str | None = None
    licence: str = "unknown"


@dataclass
class Imported:
    """Counts of one split."""

    songs: int = 0
    cuts: int = 0
    conversations: int = 0
    seconds: float = 0.0

    def add(self, cut: dict[str, Any]) -> None:
        """Count a cut."""
        self.cuts += 1
        self.conversations += len(cut["custom"]["conversations"])
        self.seconds += cut["duration"]

    def table(self) -> dict[str, float]:
        """The counts as JSON."""
        return {
            "conversations": self.conversations,
            "cuts": self.cuts,
            "songs": self.songs,
            "hours": round(self.seconds / 3600, 3),
        }


def import_command(  # noqa: PLR0913 - one option each
    format: str,
    src: Path,
    out: Path,
    *,
    audio_root: Path | None = None,
    allow_outside: bool = False,
    split: str | None = None,
    val_share: float = 0.02,
    test_share: float = 0.02,
    task: str = "qa",
    source: str | None = None,
    licence: str = "unknown",
    trust_durations: bool = False,
) -> None:
    """Make a corpus of a published dataset whose files are here.

    Args:
        format: hf (conversations or messages: JSON, JSON lines, Parquet), af3 and af2 (manifests of Audio Flamingo),
            tinymu (MusicSkills), chat (messages with audio parts), csv (path, question, answer or caption).
        src: file, or folder of files.
        out: corpus folder to make; it may hold audio already.
        audio_root: folder in which relative paths of audio start; by default that of src.
        allow_outside: also read audio outside of it.
        split: put everything into train, val or test, whatever records say.
        val_share: share of songs in validation, where records name no split.
        test_share: the same for test.
        task: what records are that do not say: qa or caption.
        source: where records come from that do not say; by default the file's name.
        licence: of records that do not say.
        trust_durations: where records tell duration and sampling_rate of a file, do not open it but take it to be mono.
    """
    chosen = format_named(format)
    files = source_files(src, chosen)
    _require_settings(split, val_share, test_share, task)
    root = audio_root or (src if src.is_dir() else src.parent)
    left_out, changed = LeftOut(), LeftOut()
    audio = AudioFiles(root, allow_outside=allow_outside)
    splits = SongSplits(split, val_share, test_share)
    maker = SongCuts(audio, splits, str(out.absolute()), trust_durations, left_out, changed)
    with _new_manifests(out) as folder, _no_search_for_cycles():
        with SongBuckets(folder) as buckets:
            _spread(files, chosen, Defaults(task, source, licence), maker, buckets)
        splits.settle()
        imported = _group(buckets, maker, folder)
        if not any(counts.cuts for counts in imported.values()):
            raise UserError(f"{src}: expected something to import, left out {left_out.sentence()}")
        record = {
            "format": format,
            "files": [str(file) for file in files],
            "audio_root": audio.root,
            "imported": {name: counts.table() for name, counts in imported.items()},
            "left_out": left_out.table(),
            "changed": changed.table(),
            "headers": {"read": audio.headers_read, "trusted": maker.tally["trusted"]},
        }
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (folder / "import.json").write_text(f"{text}\n", encoding="utf-8")
    _report(out, imported, left_out, changed)


def entry_of(record: Record, place: str, files: AudioFiles, defaults: Defaults) -> Entry:
    """What is known of a record before its audio is looked at.

    Raises:
        NotImportedError: it is text only, its audio lies outside the root, or it makes no conversation.
    """
    if not record.sounds:
        raise NotImportedError("text only")
    conversation = conversation_of(record, defaults.task)
    conversation["source"] = record.source or defaults.source
    conversation["licence"] = record.licence or defaults.licence
    first, *others = record.sounds
    return {
        "place": place,
        "sound": (files.key(first.path), first.start, first.duration, first.sampling_rate),
        "others": [files.key(other.path) for other in others],
        "piece": record.piece,
        "split": known_split(record.split),
        "custom": record.custom,
        "conversation": conversation,
    }


def _require_settings(split: str | None, val_share: float, test_share: float, task: str) -> None:
    if split not in (None, *SPLITS):
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if task not in TASKS:
        raise UserError(f"task: expected one of {', '.join(TASKS)}, got {task!r}")
    if min(val_share, test_share) < 0 or val_share + test_share > 1:
        raise UserError(f"val_share and test_share: expected shares of one whole, got {val_share:g} and {test_share:g}")


@contextmanager
def _new_manifests(out: Path) -> Iterator[Path]:
    """A folder in `out` whose manifests move up when all is done; refuses where a corpus is already."""
    there = [path.name for split in SPLITS for path in out.glob(f"cuts_{split}.jsonl*")]
    if there:
        raise UserError(f"{out}: expected a folder without a corpus, got {there[0]}: remove it or choose another --out")
    is_new = not out.exists()
    folder = out / ".import.partial"
    # Left behind only by a run that was killed.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        for path in sorted(folder.iterdir()):
            path.replace(out / path.name)
        is_new = False
    finally:
        shutil.rmtree(out if is_new else folder, ignore_errors=True)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Without Python's search for cycles among objects: JSON has none, and looking takes a seventh of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _spread(files: list[Path], chosen: Format, defaults: Defaults, maker: SongCuts, buckets: SongBuckets) -> None:
    """Read all records and put them into buckets by song."""
    for file in files:
        known = Defaults(defaults.task, defaults.source or stem(file), defaults.licence)
        records = read_records(file, chosen, maker.left_out)
        shown = track(records, f"reading {file.name}", total=None, console=Console(stderr=True))
        for place, record in shown:
            try:
                entry = entry_of(record, place, maker.files, known)
                song = entry["sound"][0]
                buckets.add(song, entry)
            except NotImportedError as reason:
                maker.left_out.add(str(reason), place)
                continue
            maker.splits.note(song, entry["piece"], entry["split"])
            for other in entry["others"]:
                maker.splits.note(other, None, entry["split"])
            _note_changes(record, entry, maker)


def _note_changes(record: Record, entry: Entry, maker: SongCuts) -> None:
    changed = maker.changed
    if record.split and entry["split"] is None and not maker.splits.forced:
        changed.add(f"split {record.split!r} is none of {', '.join(SPLITS)}: drawn", entry["place"])
    conversation = entry["conversation"]
    if conversation["form"] == "multiple_choice" and "options" not in conversation:
        changed.add("options left out, as the answer is none of them", entry["place"])


def _group(buckets: SongBuckets, maker: SongCuts, folder: Path) -> dict[str, Imported]:
    """Write the cuts of each song."""
    imported = {split: Imported() for split in SPLITS}
    with ExitStack() as stack:
        manifests = {split: stack.enter_context((folder / f"cuts_{split}.jsonl").open("wb")) for split in SPLITS}
        for songs in track(buckets.songs(), "writing cuts", NUM_BUCKETS, console=Console(stderr=True)):
            headers = maker.headers(entry for entries in songs.values() for entry in entries)
            for song, entries in songs.items():
                split, cuts = maker.splits.split_of(song), maker.cuts(song, entries, headers)
                imported[split].songs += bool(cuts)
                for cut in cuts:
                    manifests[split].write(orjson.dumps(cut, option=orjson.OPT_APPEND_NEWLINE))
                    imported[split].add(cut)
    return imported


def _report(out: Path, imported: dict[str, Imported], left_out: LeftOut, changed: LeftOut) -> None:
    for split, counts in imported.items():
        size = f"{counts.conversations:,} conversations, {counts.cuts:,} cuts of {counts.songs:,} songs"
        print(f"{split}: {size}, {counts.seconds / 3600:,.2f} h")
    print(f"left out {left_out.sentence()}")
    if changed.counts:
        print(f"changed {changed.sentence()}")
    print(f"{out}: all counts are in import.json; next: music-flamingo data check {out}")
