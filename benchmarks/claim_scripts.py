"""How the scripts of a benchmark are run, and the dated tables that they leave in benchmarks/results.

A script is a module with a function `claims`, which measures and yields them.
"""

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

from benchmarks.claim import Claim, table_line
from benchmarks.measurement import printed_in_own_process

RESULTS = Path(__file__).parent / "results"


def print_claims(package: str, scripts: Sequence[str], *, as_json: bool) -> None:
    """Measure in this process, on one thread."""
    torch.set_num_threads(1)
    for script in scripts:
        for claim in importlib.import_module(f"{package}.{script}").claims():
            print(json.dumps(asdict(claim)) if as_json else table_line(claim), flush=True)


def write_claims(package: str, scripts: Sequence[str], title: str, name: str, packages: Sequence[str]) -> None:
    """Measure each script in a process of its own, and write `DATE-name.json` and `.md`.

    Args:
        package: of the scripts; `python -m package --json SCRIPT` prints its claims.
        scripts: modules in it.
        title: of the table.
        name: of the files.
        packages: whose versions are told.
    """
    load = os.getloadavg()
    claims: list[Claim] = []
    for script in tqdm(scripts, unit="script"):
        for line in printed_in_own_process(package, "--json", script):
            claims.append(Claim(**json.loads(line)))
            tqdm.write(table_line(claims[-1]))
    date = datetime.now(UTC).date().isoformat()
    about: dict[str, Any] = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "load": {"before": load, "after": os.getloadavg()},
        "versions": {each: version(each) for each in packages},
        "command": f"python -m {package} {' '.join(sys.argv[1:])}".strip(),
        "claims": [{**asdict(claim), "ratio": round(claim.ratio, 3), "holds": claim.holds} for claim in claims],
    }
    (RESULTS / f"{date}-{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    versions = ", ".join(f"{each} {number}" for each, number in about["versions"].items())
    head = [
        f"{title}, {date}: {about['machine']}, {versions}.",
        "Process-CPU seconds where nothing else is said, medians of paired runs.",
        "",
        "| claim | setting | baseline | baseline | ours | ratio | must | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    (RESULTS / f"{date}-{name}.md").write_text("\n".join([*head, *map(table_line, claims)]) + "\n")
    print(RESULTS / f"{date}-{name}.md")
