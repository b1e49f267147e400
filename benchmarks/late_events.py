"""Does Audio Flamingo 2's third stage hear what happens late in a song better than its second?

    python benchmarks/late_events.py runs/songbook_0 runs/songbook_1 runs/songbook_2

Each folder holds the corpus and the tested stages of one seed. Asked is what changes in held-out whole pieces, of which
half pause once: counted are those that pause after the first minute, and those that never do. The second stage answers
twice, hearing 90 s as it was trained (`2_sft`) and the whole piece (`2_sft_whole`). Writes
benchmarks/results/<date>-late-events.md and .json.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lhotse import CutSet

from music_flamingo.evaluation.intervals import Interval, bootstrap_interval, paired_difference_interval

RESULTS = Path(__file__).parent / "results"
FIRST_MINUTE = 60.0
STAGES = {"2_sft": "second stage, first 90 s", "2_sft_whole": "second stage, whole piece", "3_long": "third stage"}
LAST = "3_long"


def main() -> None:
    """Read the predictions of all seeds, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    runs: list[Path] = parser.parse_args().runs
    correct: dict[str, list[float]] = {stage: [] for stage in STAGES}
    pieces: list[str] = []
    for run in runs:
        asked = late_cuts(run / "corpus")
        answers = {stage: answers_of(run / stage, asked) for stage in STAGES}
        for cut, piece in asked.items():
            pieces.append(piece)
            for stage, known in answers.items():
                correct[stage].append(known[cut])
    shares = {stage: bootstrap_interval(values, pieces) for stage, values in correct.items()}
    gains = {
        stage: paired_difference_interval(correct[LAST], correct[stage], pieces) for stage in STAGES if stage != LAST
    }
    date = datetime.now(UTC).date().isoformat()
    (RESULTS / f"{date}-late-events.json").write_text(
        json.dumps(
            {
                "date": date,
                "seeds": len(runs),
                "share": {stage: asdict(each) for stage, each in shares.items()},
                "gain": {stage: asdict(each) for stage, each in gains.items()},
            },
            indent=1,
        )
        + "\n"
    )
    table = RESULTS / f"{date}-late-events.md"
    table.write_text(markdown(shares, gains, date, len(runs)))
    print(table.read_text(), table, sep="\n")


def late_cuts(corpus: Path) -> dict[str, str]:
    """Held-out whole pieces, cut id -> piece, but those that pause within the first minute."""
    cuts = CutSet.from_file(corpus / "cuts_test.jsonl.gz")
    return {cut.id: cut.custom["piece"] for cut in cuts if cut.custom["kind"] == "full" and is_late(cut.custom)}


def is_late(custom: Mapping[str, Any]) -> bool:
    """Whether a piece changes after the first minute, or never."""
    time = custom["truth"]["change_time"]
    return time is None or time > FIRST_MINUTE


def answers_of(stage: Path, asked: Mapping[str, str]) -> dict[str, float]:
    """Cut id -> 1 where the open question about the change was answered rightly, else 0."""
    with (stage / "predictions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    wanted = [row for row in rows if row["cut"] in asked and row["question_name"] == "change" and row["form"] == "open"]
    return {row["cut"]: float(row["correct"]) for row in wanted if row["audio"] == "own"}


def markdown(shares: Mapping[str, Interval], gains: Mapping[str, Interval], date: str, seeds: int) -> str:
    """The shares and the third stage's gains as a table."""
    any_share = shares[LAST]
    lines = [
        f"Late events, {date}: {any_share.num_values} answers on {any_share.num_pieces} held-out pieces of 60 to "
        f"200 s, {seeds} seeds. Share of right answers to what changes, where a pause comes after the first minute "
        "or never; 95 % intervals over pieces.",
        "",
        "| who answers | right | third stage is better by |",
        "|---|---|---|",
    ]
    for stage, name in STAGES.items():
        gain = said(gains[stage]) if stage in gains else ""
        lines.append(f"| {name} | {said(shares[stage])} | {gain} |")
    return "\n".join(lines) + "\n"


def said(interval: Interval) -> str:
    """A mean and its interval."""
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    main()
