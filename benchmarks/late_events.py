"""Does Audio Flamingo 2's third stage hear what happens late in a song better than its second?

    python benchmarks/late_events.py runs/songbook_0 runs/songbook_1 runs/songbook_2

Each folder holds the exports of one seed's stages, as `songbook_line.py --model audio_flamingo_2` leaves them. They are
asked what changes in held-out pieces of two to four minutes, of which half pause once: counted are those that pause
after the first minute, and those that never do. Those pieces are of the test split that no stage has seen, and are made
first (a few minutes). The second stage answers twice: hearing 90 s, as it was trained, and the whole piece. Writes
benchmarks/results/<date>-late-events.md and .json.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import CutSet

from music_flamingo.evaluation.intervals import Interval, bootstrap_interval, paired_difference_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COMMAND = Path(sys.executable).with_name("music-flamingo")
# As many clips as `songbook` needs to read all scores: its splits are then those that the stages were trained on.
CORPUS = ["--clips", "1500", "--full-pieces", "600", "--full-seconds", "[120,240]"]
FIRST_MINUTE = 60.0


class Listener(NamedTuple):
    """Who answers.

    Attributes:
        stage: whose export, and whose recipe.
        seconds: of a piece, that it hears.
        title: in the table.
    """

    stage: str
    seconds: int
    title: str


LISTENERS = {
    "late_2_sft": Listener("2_sft", 90, "second stage, first 90 s"),
    "late_2_sft_whole": Listener("2_sft", 300, "second stage, whole piece"),
    "late_3_long": Listener("3_long", 300, "third stage, whole piece"),
}
LAST = "late_3_long"


class Answer(NamedTuple):
    """To what changes in one piece; `pause` is where it pauses, None for never."""

    piece: str
    pause: float | None
    right: Mapping[str, float]


GROUPS: dict[str, Callable[[Answer], bool]] = {
    "pause after the first minute": lambda answer: answer.pause is not None,
    "no pause": lambda answer: answer.pause is None,
    "both": lambda answer: True,
}


def main() -> None:
    """Let all listeners answer, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--corpus", type=Path, default=Path("runs/late_corpus"), help="made where it is missing")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that answer at once")
    parser.add_argument("--skip-answering", action="store_true", help="read what was answered before")
    arguments = parser.parse_args()
    if not arguments.skip_answering:
        run("songbook", "--out", arguments.corpus, *CORPUS)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda folder: answer(folder, arguments.corpus), arguments.runs))
    asked = late_cuts(arguments.corpus)
    answers = [each for folder in arguments.runs for each in answers_of(folder, asked)]
    write(answers, len(arguments.runs))


def run(*words: object) -> None:
    """One `music-flamingo` command; a failure ends the benchmark."""
    subprocess.run([str(COMMAND), *map(str, words)], check=True, cwd=ROOT)


def answer(folder: Path, corpus: Path) -> None:
    """Let the listeners of one seed answer what is asked of the test split."""
    for name, listener in LISTENERS.items():
        recipes = [f"--config=recipes/audio_flamingo_2/{prefix}{listener.stage}.yaml" for prefix in ("", "songbook_")]
        settings = [f"--run.root={folder}", f"--run.name={name}", f"--run.start={folder / listener.stage / 'export'}"]
        heard = [f"--data.corpus={corpus}", f"--data.max_song_seconds={listener.seconds}"]
        run("test", *recipes, *settings, *heard)


def late_cuts(corpus: Path) -> dict[str, tuple[str, float | None]]:
    """Cut id -> piece and pause of the test split's whole pieces, but those that pause within the first minute."""
    cuts = CutSet.from_file(corpus / "cuts_test.jsonl.gz")
    pauses = {cut.id: (cut.custom["piece"], cut.custom["truth"]["change_time"]) for cut in cuts if is_full(cut.custom)}
    return {cut: (piece, pause) for cut, (piece, pause) in pauses.items() if pause is None or pause > FIRST_MINUTE}


def is_full(custom: Mapping[str, Any]) -> bool:
    """Whether a cut is no clip."""
    return bool(custom["kind"] == "full")


def answers_of(folder: Path, asked: Mapping[str, tuple[str, float | None]]) -> list[Answer]:
    """Of one seed, about each cut."""
    right = {name: correctness(folder / name, asked) for name in LISTENERS}
    return [
        Answer(piece, pause, {name: known[cut] for name, known in right.items()})
        for cut, (piece, pause) in asked.items()
    ]


def correctness(stage: Path, asked: Mapping[str, object]) -> dict[str, float]:
    """Cut id -> 1 where the open question about the change was answered rightly, else 0."""
    with (stage / "predictions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    wanted = [row for row in rows if row["cut"] in asked and row["question_name"] == "change" and row["form"] == "open"]
    return {row["cut"]: float(row["correct"]) for row in wanted if row["audio"] == "own"}


def write(answers: Sequence[Answer], seeds: int) -> None:
    """JSON, and Markdown as a table."""
    groups = {name: [each for each in answers if belongs(each)] for name, belongs in GROUPS.items()}
    shares = {
        group: {name: share([each.right[name] for each in some], some) for name in LISTENERS}
        for group, some in groups.items()
    }
    gains = {group: {name: gain(name, some) for name in LISTENERS if name != LAST} for group, some in groups.items()}
    date = datetime.now(UTC).date().isoformat()
    table = RESULTS / f"{date}-late-events.md"
    numbers = {
        "date": date,
        "seeds": seeds,
        "share": {group: {name: asdict(each) for name, each in row.items()} for group, row in shares.items()},
        "gain": {group: {name: asdict(each) for name, each in row.items()} for group, row in gains.items()},
    }
    table.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    table.write_text(markdown(shares, gains, date, seeds))
    print(table.read_text(), table, sep="\n")


def share(values: Sequence[float], answers: Sequence[Answer]) -> Interval:
    """With an interval over pieces."""
    return bootstrap_interval(values, [each.piece for each in answers])


def gain(name: str, answers: Sequence[Answer]) -> Interval:
    """Of the third stage over a listener."""
    pieces = [each.piece for each in answers]
    return paired_difference_interval(
        [each.right[LAST] for each in answers], [each.right[name] for each in answers], pieces
    )


Table = Mapping[str, Mapping[str, Interval]]


def markdown(shares: Table, gains: Table, date: str, seeds: int) -> str:
    """Shares of right answers, and what the third stage gains."""
    counts = {group: row[LAST] for group, row in shares.items()}
    always_none = counts["no pause"].num_values / counts["both"].num_values
    lines = [
        f"Late events, {date}: what changes in held-out pieces of 120 to 240 s, {seeds} seeds. Share of right answers; "
        f"95 % intervals over pieces. Always to answer none is right in {always_none:.3f} of both.",
        "",
        "| " + " | ".join(["who answers", *(said_group(group, each) for group, each in counts.items())]) + " |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for name, listener in LISTENERS.items():
        lines.append("| " + " | ".join([listener.title, *(said(row[name]) for row in shares.values())]) + " |")
    for name, listener in LISTENERS.items():
        if name != LAST:
            title = f"third stage better than {listener.title} by"
            lines.append("| " + " | ".join([title, *(said(row[name]) for row in gains.values())]) + " |")
    return "\n".join(lines) + "\n"


def said_group(name: str, interval: Interval) -> str:
    """A column's title."""
    return f"{name} ({interval.num_values} answers, {interval.num_pieces} pieces)"


def said(interval: Interval) -> str:
    """A mean and its interval."""
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    main()
