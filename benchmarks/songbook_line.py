"""The whole line of `make demo` for several seeds: does every claim about the songbook hold on held-out pieces?

    python benchmarks/songbook_line.py --seeds 0 1 2          about 18 minutes a seed on two cores
    python benchmarks/songbook_line.py --seeds 0 1 2 --jobs 3          side by side, one thread each
    python benchmarks/songbook_line.py --model tinymu --seeds 0 1 2          seven minutes a seed on one core
    python benchmarks/songbook_line.py --model audio_flamingo_2 --seeds 0 1 2
    taskset -c 0,1 python benchmarks/songbook_line.py --model audio_flamingo_2 --seeds 0 1 2 --through 1_alignment

Each seed makes its own untrained model and its own order of songs, on one corpus. Writes
benchmarks/results/<date>-songbook.json (-songbook-tinymu.json, ...), a list of claims with the value of each seed, and
the same as Markdown.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("music-flamingo")
# glibc keeps what is freed, as in the Makefile: giving it back to the system costs a third of the time.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}

# Of all commands of a seed, from the untrained model to the report, beside the report.
MINUTES = "minutes.json"

# Name of the claim, where report.json has its value, and the least (or, negative, the most) it must be.
CLAIMS: list[tuple[str, str, float]] = [
    ("instrument, final model", "questions.instrument.accuracy", 0.85),
    ("drums, final model", "questions.drums.accuracy", 0.90),
    ("texture, final model", "questions.texture.accuracy", 0.90),
    ("change, final model", "questions.change.accuracy", 0.85),
    ("tempo after sft", "stages.2_sft.accuracy.tempo", 0.50),
    ("sampled reward, GRPO minus warm-up", "rewards.differences.sampled.after_minus_before.mean", 0.10),
    ("sampled reward, GRPO minus control", "rewards.differences.sampled.after_minus_control.mean", 0.05),
    ("greedy reward, GRPO minus warm-up", "rewards.differences.greedy.after_minus_before.mean", 0.05),
    ("format of samples after warm-up", "format_share.3_warmup", 0.95),
    ("mislabelled instruments after GRPO", "systematic.accuracy.4_grpo", 0.60),
    ("false think steps after GRPO, sampled", "false_step_share.4_grpo", -0.08),
    ("false think steps after GRPO, greedy", "greedy.false_step_share.4_grpo", -0.08),
    ("repeated values in captions after GRPO, sampled", "repeated_value_share.4_grpo", -0.05),
    ("repeated values in captions after GRPO, greedy", "greedy.repeated_value_share.4_grpo", -0.05),
]


@dataclass(frozen=True)
class Line:
    """The stages of one kind of model.

    Attributes:
        preset: of the untrained model.
        stages: recipes of each, laid over one another.
        claims: about the last one.
        result: name of the table.
        corpus: options of `music-flamingo songbook`.
        whole: a stage that is tested a second time, hearing up to five minutes.
    """

    preset: str
    stages: Mapping[str, Sequence[str]]
    claims: Sequence[tuple[str, str, float]]
    result: str
    corpus: Sequence[str] = ()
    whole: str | None = None

    def through(self, stage: str) -> "Line":
        """The same line, ended after a stage."""
        names = list(self.stages)
        stages = {name: self.stages[name] for name in names[: names.index(stage) + 1]}
        return replace(self, stages=stages, result=f"{self.result}-through-{stage}")


LINES = {
    "music_flamingo": Line(
        "tiny",
        {
            "1_tagging": ["songbook/1_tagging"],
            "2_sft": ["songbook/2_sft"],
            "3_warmup": ["songbook/3_warmup"],
            "4_grpo": ["songbook/4_grpo"],
            "control": ["songbook/3_warmup", "songbook/control"],
            "3_warmup_clean": ["songbook/3_warmup", "songbook/clean"],
        },
        CLAIMS,
        "songbook",
    ),
    "tinymu": Line(
        "tinymu-tiny",
        {
            "1_tagging": ["songbook/1_tagging", "tinymu/songbook_1_tagging"],
            "2_sft": ["songbook/2_sft", "tinymu/songbook_2_sft"],
        },
        CLAIMS[:4],
        "songbook-tinymu",
    ),
    "audio_flamingo_2": Line(
        "audio-flamingo-2-tiny",
        {
            "0_tagging": ["songbook/1_tagging", "audio_flamingo_2/songbook_0_tagging"],
            "1_alignment": [
                "audio_flamingo_2/1_alignment",
                "audio_flamingo_2/songbook_1_alignment",
                "audio_flamingo_2/songbook_tagged",
            ],
            "2_sft": ["audio_flamingo_2/2_sft", "audio_flamingo_2/songbook_2_sft"],
            "3_long": ["audio_flamingo_2/3_long", "audio_flamingo_2/songbook_3_long"],
        },
        CLAIMS[:4],
        "songbook-audio-flamingo-2",
        ["--clips", "2400", "--full-pieces", "320", "--full-seconds", "[60,200]"],
        whole="2_sft",
    ),
}


def main() -> None:
    """Run every seed, then write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(LINES), default="music_flamingo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at once; each writes line.log in its folder")
    parser.add_argument("--through", help="the last stage to train; the line's own last one if it is not given")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--skip-training", action="store_true", help="read the reports of earlier runs")
    arguments = parser.parse_args()
    line = LINES[arguments.model]
    if arguments.through:
        line = line.through(arguments.through)
    corpus = arguments.runs / "songbook_corpus"
    if not arguments.skip_training:
        run("songbook", "--out", corpus, *line.corpus)
        roots = [arguments.runs / f"songbook_{seed}" for seed in arguments.seeds]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            waiting = [
                pool.submit(train, line, root, corpus, seed, logged=arguments.jobs > 1)
                for root, seed in zip(roots, arguments.seeds, strict=True)
            ]
        for done in waiting:
            done.result()
    roots = {seed: arguments.runs / f"songbook_{seed}" for seed in arguments.seeds}
    reports = {seed: json.loads((root / "report.json").read_text()) for seed, root in roots.items()}
    minutes = {seed: json.loads((root / MINUTES).read_text()) for seed, root in roots.items()}
    write(line, reports, minutes)


def train(line: Line, root: Path, corpus: Path, seed: int, *, logged: bool) -> None:
    """All stages of one seed, each tested once trained; `logged` to a file, on one thread, beside other seeds."""
    begin = time.perf_counter()
    root.mkdir(parents=True, exist_ok=True)
    log = root / "line.log" if logged else None
    if log:
        log.unlink(missing_ok=True)
    link = root / "corpus"
    if not link.exists():
        link.symlink_to(corpus.resolve())
    run("init", "--out", root / "0_init", "--corpus", corpus, "--seed", seed, "--preset", line.preset, log=log)
    for name, recipes in line.stages.items():
        settings = [f"--config=recipes/{recipe}.yaml" for recipe in recipes]
        settings += [f"--run.root={root}", f"--run.seed={seed}", f"--data.corpus={link}"]
        run("fit", *([] if "tagging" in name else ["--test"]), *settings, log=log)
        if name == line.whole:
            again = [f"--run.name={name}_whole", f"--run.start={root / name / 'export'}", "--data.max_song_seconds=300"]
            run("test", *settings, *again, log=log)
    run("report", root, log=log)
    (root / MINUTES).write_text(json.dumps(round((time.perf_counter() - begin) / 60, 1)) + "\n")


def run(*words: object, log: Path | None = None) -> None:
    """One `music-flamingo` command; a failure ends the benchmark."""
    command = [str(COMMAND), *map(str, words)]
    environment = {**os.environ, **MEMORY}
    if log is None:
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        return
    with log.open("a") as output:
        environment["OMP_NUM_THREADS"] = "1"
        subprocess.run(command, check=True, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment)


def lookup(report: dict[str, Any], path: str) -> float | None:
    """The number at a dotted path; `stages` is a list of named entries, and an interval gives its mean."""
    value: Any = {**report, "stages": {stage["name"]: stage for stage in report["stages"]}}
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = next((value[key] for key in ("mean", "accuracy", "share") if key in value), None)
    return None if value is None else float(value)


def write(line: Line, reports: dict[int, dict[str, Any]], minutes: dict[int, float]) -> None:
    """JSON and Markdown tables of all claims."""
    rows = []
    for claim, path, must in line.claims:
        values = {seed: lookup(report, path) for seed, report in reports.items()}
        known = [value for value in values.values() if value is not None]
        holds = len(known) == len(values) and all(v >= must if must >= 0 else v <= -must for v in known)
        rows.append({"claim": claim, "path": path, "must": must, "values": values, "holds": holds})
    date = datetime.now(UTC).date().isoformat()
    results = ROOT / "benchmarks" / "results"
    about = {
        "date": date,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores of {os.cpu_count()}",
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lightning", "lhotse", "music21")},
        "command": " ".join(sys.argv),
        "minutes": minutes,
        "seconds": {seed: {s["name"]: s["seconds"] for s in report["stages"]} for seed, report in reports.items()},
        "questions": {seed: report["questions"] for seed, report in reports.items()},
        "rewards": {seed: report["rewards"] for seed, report in reports.items()},
    }
    (results / f"{date}-{line.result}.json").write_text(json.dumps({**about, "claims": rows}, indent=1) + "\n")
    (results / f"{date}-{line.result}.md").write_text(markdown(rows, minutes, date))
    sys.stdout.write(f"{results / f'{date}-{line.result}.md'}\n")


def markdown(rows: list[dict[str, Any]], minutes: dict[int, float], date: str) -> str:
    """The claims as a table, and how long each seed took."""
    lines = [f"Songbook, {date}, held-out pieces, one column per seed.", ""]
    lines += [
        "| claim | must | " + " | ".join(f"seed {s}" for s in minutes) + " | holds |",
        "|---" * (len(minutes) + 3) + "|",
    ]
    for row in rows:
        must = f">= {row['must']:.2f}" if row["must"] >= 0 else f"<= {-row['must']:.2f}"
        values = ["" if v is None else f"{v:.3f}" for v in row["values"].values()]
        lines.append(f"| {row['claim']} | {must} | {' | '.join(values)} | {'yes' if row['holds'] else 'no'} |")
    lines.append(f"| minutes, from init to report | | {' | '.join(f'{m:.1f}' for m in minutes.values())} | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
