"""`music-flamingo data stats`: how much of what is in a corpus, on the terminal and in `CORPUS/stats.{json,html}`.

Nothing is decoded: lengths are the manifest's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.histogram import histogram, most_frequent, summary
from music_flamingo.corpora.inspection.pages import write_page
from music_flamingo.corpora.inspection.songs import count_songs, read_songs, splits_of
from music_flamingo.corpora.inspection.tally import CONVERSATION_GROUPS, SONG_GROUPS, Tally, total
from music_flamingo.corpora.inspection.token_counts import TokenCounter
from music_flamingo.whole_files import write_text

_MAX_ROWS = 20
"""Of a table on the terminal."""


def stats_command(corpus: Path, *, processor: Path | None = None) -> None:
    """Count what is in a corpus.

    Args:
        corpus: folder with `cuts_train`, `cuts_val` and `cuts_test`.
        processor: Hugging Face directory whose processor counts tokens; without it none are counted.

    Raises:
        UserError: the folder is no corpus, or the directory holds no processor.
    """
    stats = corpus_stats(corpus, None if processor is None else TokenCounter(processor))
    write_text(corpus / "stats.json", json.dumps(stats, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_page(corpus / "stats.html", "stats.html.j2", stats=stats)
    console = Console()
    console.print(_split_table(stats["splits"]))
    for name, groups in stats["groups"].items():
        console.print(_group_table(name, groups, list(stats["splits"])))
    console.print(_answer_table(stats["answers"]))
    if stats["lines_without_a_song"]:
        console.print(
            f"{stats['lines_without_a_song']} lines are no cut: see music-flamingo data check", style="yellow"
        )
    console.print(str(corpus / "stats.html"), soft_wrap=True, highlight=False, markup=False)


def corpus_stats(corpus: Path, tokens: TokenCounter | None) -> dict[str, Any]:
    """Everything `stats.json` holds.

    Args:
        corpus: folder.
        tokens: None counts none.

    Raises:
        UserError: the folder is no corpus.
    """
    tallies = {split: Tally() for split in splits_of(corpus)}
    num_unreadable = 0
    for split, tally in tallies.items():
        songs, number = read_songs(corpus, split), count_songs(corpus, split)
        for cut in track(songs, f"counting {split}", number, console=Console(stderr=True), transient=True):
            if isinstance(cut, Finding):
                num_unreadable += 1
            else:
                tally.add(cut, tokens)
    whole = total(tallies.values())
    return {
        "corpus": corpus.resolve().name,
        "lines_without_a_song": num_unreadable,
        "splits": {split: tally.totals() for split, tally in tallies.items()} | {"all": whole.totals()},
        "groups": {name: _group(name, whole, tallies) for name in (*SONG_GROUPS, *CONVERSATION_GROUPS)},
        "histograms": {
            "seconds of a song": histogram(whole.seconds),
            **{f"tokens of {_article(kind)}": histogram(values) for kind, values in whole.tokens.items()},
        },
        "tokens": {kind: summary(values) for kind, values in whole.tokens.items()},
        "answers": {
            name: {"n": found.total(), "different": len(found), "most_frequent": most_frequent(found)}
            for name, found in sorted(whole.answers.items())
        },
    }


def _group(name: str, whole: Tally, tallies: Mapping[str, Tally]) -> dict[str, dict[str, float]]:
    """For each value of a field, by frequency, how many in each split, in all, and in hours of audio."""
    return {
        value: {split: tally.groups[name][value] for split, tally in tallies.items()}
        | {"all": count, "hours": round(whole.group_seconds[name][value] / 3600, 3)}
        for value, count in whole.groups[name].most_common()
    }


def _article(kind: str) -> str:
    return "a song" if kind == "audio" else f"{'an' if kind == 'answer' else 'a'} {kind}"


def _split_table(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    kinds = list(splits["all"]["tokens"])
    columns = ["split", "songs", "hours", "median s", "longest s", "conversations"]
    table = _table([*columns, *(f"{kind} tokens" for kind in kinds)])
    for name, split in splits.items():
        seconds = split["seconds"]
        numbers = [f"{split['songs']:,}", f"{seconds.get('sum', 0) / 3600:,.2f}"]
        numbers += [f"{seconds[key]:,.1f}" if seconds["n"] else "-" for key in ("median", "max")]
        counts = [f"{split['tokens'].get(kind, {}).get('sum', 0):,.0f}" for kind in kinds]
        table.add_row(name, *numbers, f"{split['conversations']:,}", *counts)
    return table


def _group_table(name: str, groups: Mapping[str, Mapping[str, float]], splits: list[str]) -> Table:
    table = _table([name.replace("_", " "), *splits, "hours"])
    for value, counts in list(groups.items())[:_MAX_ROWS]:
        table.add_row(value, *(f"{counts[split]:,}" for split in splits), f"{counts['hours']:,.2f}")
    if len(groups) > _MAX_ROWS:
        table.add_row(f"and {len(groups) - _MAX_ROWS:,} rarer ones")
    return table


def _answer_table(answers: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table(["answers to", "n", "different", "most frequent"])
    table.columns[-1].justify = "left"
    for name, found in answers.items():
        three = list(found["most_frequent"].items())[:3]
        shown = ", ".join(f"{answer[:24]} {100 * count / found['n']:.0f} %" for answer, count in three)
        table.add_row(name, f"{found['n']:,}", f"{found['different']:,}", shown)
    return table


def _table(columns: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table
