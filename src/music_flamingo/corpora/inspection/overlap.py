"""`music-flamingo data overlap`: which songs and texts of training stand in a benchmark too.

By id, by normalised text, and by how the audio sounds. Written to `CORPUS/overlap.json`, and with `--quarantine` into
`CORPUS/quarantine.jsonl`. Only what is learned from is looked at: the training and validation splits.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.inspection.benchmark_items import Item, read_items, song_item
from music_flamingo.corpora.inspection.findings import OVERLAP_KINDS, Finding
from music_flamingo.corpora.inspection.fingerprint import Excerpt, FingerprintIndex, Words, named_fingerprint
from music_flamingo.corpora.inspection.guarded_pool import Failure, GuardedPool
from music_flamingo.corpora.inspection.quarantine import quarantine_path, write_quarantine
from music_flamingo.corpora.inspection.songs import read_songs, splits_of
from music_flamingo.corpora.inspection.text_checks import without_options, words
from music_flamingo.whole_files import write_text

Listeners = GuardedPool[tuple[str, Excerpt], Words]
_LEARNED = ("train", "val")
_COUNTED_NAME = re.compile(r"[A-Za-z]*[-_ ]?\d*")
"""clip-00012, track7: names that any corpus may give."""
_SHORTEST_ID = 6
_LONG_QUESTION_WORDS = 10
_LONG_ANSWER_WORDS = 8
_MOST_COMMON_TEXT = 3
"""A text that more songs of the corpus, or more items of a benchmark, have is a form of words, not content."""


def overlap_command(
    corpus: Path,
    *,
    against: list[Path],
    quarantine: bool = False,
    workers: int | None = None,
    timeout: float = 60.0,
    allow_outside: bool = False,
) -> None:
    """Look for songs and texts of a corpus in benchmarks.

    Args:
        corpus: folder with `cuts_train`, `cuts_val` and `cuts_test`.
        against: corpus folders, or .json, .jsonl or .csv files with an id, texts or audio for each item.
        quarantine: keep what is found out of training.
        workers: processes; by default one for each core.
        timeout: seconds that a song may take to read.
        allow_outside: also read audio outside the folders of corpus and benchmarks.

    Raises:
        UserError: the corpus or a benchmark cannot be read.
    """
    benchmarks = {str(source): read_items(source, allow_outside=allow_outside) for source in against}
    songs = list(_songs(corpus, allow_outside))
    pool = GuardedPool(named_fingerprint, workers or os.cpu_count() or 1, timeout)
    findings, num_heard = find_overlap(songs, benchmarks, pool)
    report = {
        "corpus": corpus.resolve().name,
        "songs": len(songs),
        "songs_heard": num_heard,
        "against": {
            name: {"items": len(items), "with_audio": sum(item.audio is not None for item in items)}
            for name, items in benchmarks.items()
        },
        "by_kind": dict(Counter(finding.kind for finding in findings)),
        "findings": [finding.record() for finding in findings],
    }
    write_text(corpus / "overlap.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if quarantine:
        write_quarantine(corpus, findings, OVERLAP_KINDS)
    _print(corpus, report, quarantine)


def find_overlap(
    songs: Sequence[tuple[str, Item, Sequence[str | None]]],
    benchmarks: Mapping[str, Sequence[Item]],
    pool: Listeners,
) -> tuple[list[Finding], int]:
    """What of the songs stands in the benchmarks.

    Args:
        songs: (split, song, ids of its conversations as `asked` has them).
        benchmarks: items by name.
        pool: computes fingerprints.

    Returns:
        Findings in the order of the songs, and how many songs could be heard.
    """
    ids, texts = _known_ids(benchmarks), _known_texts([song for _, song, _ in songs], benchmarks)
    found: list[list[Finding]] = [
        [*_id_findings(split, song, ids), *_text_findings(split, song, conversations, texts)]
        for split, song, conversations in songs
    ]
    named = ((f"{name}: {item.name}", item) for name, items in benchmarks.items() for item in items)
    index = FingerprintIndex(dict(_heard(named, pool, "listening to benchmarks")))
    num_heard = 0
    if index:
        numbered = ((str(number), song) for number, (_, song, _) in enumerate(songs))
        for number, sound in _heard(numbered, pool, "listening to songs"):
            num_heard += 1
            split, song, _ = songs[int(number)]
            for match in index.search(sound):
                detail = f"{match.seconds:.0f} s from {match.at:.0f} s on sound like {match.name}, from "
                detail += f"{match.at_other:.0f} s on ({100 * match.error:.0f} % of the bits differ)"
                found[int(number)].append(_finding("overlap_audio", detail, split, song))
    return [finding for findings in found for finding in findings], num_heard


def _heard(items: Iterable[tuple[str, Item]], pool: Listeners, what: str) -> Iterator[tuple[str, Words]]:
    """Names and words of the items that can be read."""
    audible = [(name, item.audio) for name, item in items if item.audio is not None]
    results = track(pool.run(audible), what, len(audible), console=Console(stderr=True), transient=True)
    for (name, _), words_heard in results:
        if not isinstance(words_heard, Failure) and len(words_heard):
            yield name, words_heard


def _songs(corpus: Path, allow_outside: bool) -> Iterator[tuple[str, Item, list[str | None]]]:
    for split in splits_of(corpus):
        if split not in _LEARNED:
            continue
        for cut in read_songs(corpus, split):
            if not isinstance(cut, Finding):
                conversations = [each.get("id") for each in cut.custom["conversations"] if isinstance(each, dict)]
                yield split, song_item(cut, corpus, allow_outside=allow_outside), conversations


def _known_ids(benchmarks: Mapping[str, Iterable[Item]]) -> dict[str, str]:
    return {
        found.casefold(): f"{name}: {item.name}"
        for name, items in benchmarks.items()
        for item in items
        for found in item.ids
        if is_telling(found)
    }


def _known_texts(songs: Iterable[Item], benchmarks: Mapping[str, Sequence[Item]]) -> dict[str, str]:
    """Where each text stands that is no form of words, neither here nor there."""
    forms = _forms_of_words(songs).union(*map(_forms_of_words, benchmarks.values()))
    return {
        key: f"{name}: {item.name}"
        for name, items in benchmarks.items()
        for item in items
        for key in _item_keys(item) - forms
    }


def _forms_of_words(items: Iterable[Item]) -> set[str]:
    counts = Counter(key for item in items for key in _item_keys(item))
    return {key for key, count in counts.items() if count > _MOST_COMMON_TEXT}


def _item_keys(item: Item) -> set[str]:
    return {key for asked in item.asked for key in text_keys(*asked)}


def is_telling(name: str) -> bool:
    """Whether an id can only mean one song: no counter, and long enough."""
    return len(name) >= _SHORTEST_ID and _COUNTED_NAME.fullmatch(name) is None


def text_keys(question: str, answer: str) -> list[str]:
    """What a conversation is recognised by: its question and its answer, each where it is long enough to be its own.

    Case, punctuation and a list of options do not count.
    """
    asked, answered = words(without_options(question)), words(answer)
    long = [asked] * (len(asked) >= _LONG_QUESTION_WORDS) + [answered] * (len(answered) >= _LONG_ANSWER_WORDS)
    return [" ".join(text) for text in long]


def _id_findings(split: str, song: Item, known: Mapping[str, str]) -> Iterator[Finding]:
    for found in sorted(song.ids):
        if is_telling(found) and found.casefold() in known:
            yield _finding("overlap_id", f"{found} is {known[found.casefold()]}", split, song)
            return


def _text_findings(
    split: str, song: Item, conversations: Sequence[str | None], known: Mapping[str, str]
) -> Iterator[Finding]:
    for conversation, (question, answer) in zip(conversations, song.asked, strict=True):
        for key in text_keys(question, answer):
            if key in known:
                detail = f"{key[:120]!r} stands in {known[key]}"
                yield Finding("overlap_text", detail, song.name, split, None, conversation)
                break


def _finding(kind: str, detail: str, split: str, song: Item) -> Finding:
    file = None if song.audio is None else song.audio.file
    return Finding(kind, detail, song.name, split, file.name if isinstance(file, Path) else None)


def _print(corpus: Path, report: Mapping[str, Any], is_in_quarantine: bool) -> None:
    console = Console()
    for name, counts in report["against"].items():
        silent = counts["items"] - counts["with_audio"]
        without = f", {silent:,} without audio here: compared by id and text alone" if silent else ""
        console.print(f"{name}: {counts['items']:,} items{without}", soft_wrap=True, highlight=False, markup=False)
    for finding in report["findings"][:20]:
        words_ = f"{finding['kind']}  {finding['split']}  {finding['conversation'] or finding['cut']}: "
        console.print(words_ + finding["detail"], soft_wrap=True, highlight=False, markup=False)
    where = f"{corpus / 'overlap.json'}"
    if is_in_quarantine:
        where += f", and in {quarantine_path(corpus)}"
    total = len(report["findings"])
    found = f"{total:,} finding{'' if total == 1 else 's'} in {report['songs']:,} songs of training and validation"
    console.print(f"{found}: {where}", soft_wrap=True, highlight=False, markup=False)
