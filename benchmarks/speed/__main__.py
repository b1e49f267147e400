"""Is every audio token paid for once? Each claim of speed or memory against what people use today, side by side.

    python -m benchmarks.speed                    all
    python -m benchmarks.speed rote rollouts      some; grpo_step_long is left out unless it is named

One thread, process-CPU seconds, medians of one to five runs by turns. Writes benchmarks/results/<date>-cpu.json, a list
of claims beside what they were measured on, and the same as Markdown.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.speed.measurement import Claim

RESULTS = Path(__file__).parents[1] / "results"
SCRIPTS = [
    *("rote", "loss_memory", "packed_sft", "shared_questions"),
    *("rollouts", "grpo_update", "grpo_step", "flop_balance"),
]


def main() -> None:
    """Measure, then write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join([*SCRIPTS, "grpo_step_long"])
    parser.add_argument("scripts", nargs="*", default=SCRIPTS, help=f"some of: {names}")
    scripts = parser.parse_args().scripts
    torch.set_num_threads(1)
    claims: list[Claim] = []
    for script in tqdm(scripts, unit="script"):
        for claim in importlib.import_module(f"benchmarks.speed.{script}").claims():
            tqdm.write(_line(claim))
            claims.append(claim)
    _write(claims)


def _write(claims: list[Claim]) -> None:
    date = datetime.now(UTC).date().isoformat()
    about: dict[str, Any] = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "command": f"python -m benchmarks.speed {' '.join(sys.argv[1:])}".strip(),
        "claims": [{**asdict(claim), "ratio": round(claim.ratio, 3), "holds": claim.holds} for claim in claims],
    }
    (RESULTS / f"{date}-cpu.json").write_text(json.dumps(about, indent=1) + "\n")
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    head = [
        f"Speed on a CPU, {date}: {about['machine']}, {versions}.",
        "Process-CPU seconds (for memory MiB, for balance the quantity itself), medians of paired runs.",
        "",
        "| claim | setting | baseline | baseline | ours | ratio | must | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    (RESULTS / f"{date}-cpu.md").write_text("\n".join([*head, *map(_line, claims)]) + "\n")
    print(RESULTS / f"{date}-cpu.md")


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
