"""Is every audio token paid for once? Each claim of speed or memory against what people use today, side by side.

    python -m benchmarks.speed                    all but the long ones
    python -m benchmarks.speed --long             the long ones
    python -m benchmarks.speed rote rollouts      some, which are only printed

One thread, process-CPU seconds, medians of runs by turns, each script in a process of its own. All of them, and the
long ones, write benchmarks/results/DATE-cpu.json and DATE-cpu-long.json, a list of claims beside what they were
measured on, and the same as Markdown.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.speed.measurement import Claim, printed_in_own_process

RESULTS = Path(__file__).parents[1] / "results"
SCRIPTS = [
    *("rote", "loss_memory", "packed_sft", "shared_questions"),
    *("rollouts", "grpo_update", "grpo_step", "flop_balance"),
]
LONG_SCRIPTS = ["ablations", "cost_fit", "grpo_update_long", "grpo_step_long"]


def main() -> None:
    """Measure, and write what came out of a whole list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", help=f"some of: {', '.join([*SCRIPTS, *LONG_SCRIPTS])}")
    parser.add_argument("--long", action="store_true", help=f"instead of the others: {', '.join(LONG_SCRIPTS)}")
    parser.add_argument("--json", action="store_true", help="print claims as JSON")
    arguments = parser.parse_args()
    if arguments.scripts:
        torch.set_num_threads(1)
        for script in arguments.scripts:
            for claim in importlib.import_module(f"benchmarks.speed.{script}").claims():
                print(json.dumps(asdict(claim)) if arguments.json else _line(claim), flush=True)
        return
    load = os.getloadavg()
    claims: list[Claim] = []
    for script in tqdm(LONG_SCRIPTS if arguments.long else SCRIPTS, unit="script"):
        for line in printed_in_own_process("benchmarks.speed", "--json", script):
            claims.append(Claim(**json.loads(line)))
            tqdm.write(_line(claims[-1]))
    _write(claims, "cpu-long" if arguments.long else "cpu", load)


def _write(claims: list[Claim], name: str, load: Sequence[float]) -> None:
    date = datetime.now(UTC).date().isoformat()
    about: dict[str, Any] = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "load": {"before": load, "after": os.getloadavg()},
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "command": f"python -m benchmarks.speed {' '.join(sys.argv[1:])}".strip(),
        "claims": [{**asdict(claim), "ratio": round(claim.ratio, 3), "holds": claim.holds} for claim in claims],
    }
    (RESULTS / f"{date}-{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    head = [
        f"Speed on a CPU, {date}: {about['machine']}, {versions}.",
        "Process-CPU seconds (for memory MiB, for balance and fit the quantity itself), medians of paired runs.",
        "",
        "| claim | setting | baseline | baseline | ours | ratio | must | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    (RESULTS / f"{date}-{name}.md").write_text("\n".join([*head, *map(_line, claims)]) + "\n")
    print(RESULTS / f"{date}-{name}.md")


def _line(claim: Claim) -> str:
    must = f"{claim.must:g}"
    if claim.baseline_quantity is not None and claim.our_quantity is not None:
        measured, must = f"{claim.baseline_quantity:.3f} | {claim.our_quantity:.3f}", f"ours <= {must}"
    elif claim.baseline_mib is not None and claim.our_mib is not None:
        measured = f"{claim.baseline_mib:,.0f} MiB | {claim.our_mib:,.0f} MiB"
    else:
        measured = f"{claim.baseline_seconds:.2f} s | {claim.our_seconds:.2f} s"
    holds = "yes" if claim.holds else "no"
    words = [claim.claim, claim.setting, claim.baseline, measured, f"{claim.ratio:.2f}", must, holds]
    return f"| {' | '.join(words)} |"


if __name__ == "__main__":
    main()
