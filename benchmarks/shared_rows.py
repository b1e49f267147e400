"""How much less does each of several ranks keep of a long row that they share? Measured on CPU processes.

    python -m benchmarks.shared_rows

One supervised forward and backward pass on a song of ten minutes, all of a small model training, by one rank and by two
and four with `music_flamingo.models.row_sharing`. Writes benchmarks/results/DATE-shared-rows.json and .md.
"""

import json
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.profiler import record_function

from benchmarks.claim_scripts import RESULTS
from benchmarks.memory.allocated import WATCHED, memory_profile, peak_bytes
from benchmarks.memory.steps import Setting, noise_row, untrained
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.row_sharing import RowSharing

MIB = 1024**2
RANKS = (1, 2, 4)
WINDOWS = 20
"""Of 30 seconds each."""


def main() -> None:
    """Measure, print and write."""
    with TemporaryDirectory() as folder:
        start = untrained("small", Path(folder))
        lines = [_measured(start, count) for count in RANKS]
    date = datetime.now(UTC).date().isoformat()
    versions = {name: version(name) for name in ("torch", "transformers")}
    about = {"date": date, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions}
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    head = [
        f"Peak memory of each rank beside weights, {date}: {about['machine']}, {told}, float32.",
        "By `python -m benchmarks.shared_rows`: one forward and backward pass on a row that all ranks share.",
        "",
        "| ranks | tokens of the row | fullest rank | of one rank's | loss | largest difference of a gradient |",
        "|---|---|---|---|---|---|",
    ]
    table = [
        f"| {line['ranks']} | {line['tokens']:,} | {line['peak_mib']:.0f} MiB | {line['share']:.2f} | "
        f"{line['loss']:.6f} | {line['difference']:.1e} |"
        for line in _compared(lines)
    ]
    path = RESULTS / f"{date}-shared-rows"
    path.with_suffix(".json").write_text(json.dumps({**about, "lines": _compared(lines)}, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join([*head, *table]) + "\n")
    print(path.with_suffix(".md").read_text())


def _measured(start: Path, count: int) -> dict[str, Any]:
    folder = start.parent / str(count)
    folder.mkdir()
    multiprocessing.spawn(_rank, (count, str(start), str(folder)), nprocs=count)
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]
    gradients = {name: sum(rank["gradients"][name] for rank in ranks) / count for name in ranks[0]["gradients"]}
    first = ranks[0]
    peak = max(rank["peak"] for rank in ranks)
    return {"ranks": count, "tokens": first["tokens"], "loss": first["loss"], "peak": peak, "gradients": gradients}


def _compared(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    alone = lines[0]
    return [
        {
            "ranks": line["ranks"],
            "tokens": line["tokens"],
            "peak_mib": round(line["peak"] / MIB, 1),
            "share": round(line["peak"] / alone["peak"], 3),
            "loss": line["loss"],
            "difference": max(
                float((line["gradients"][name] - each).norm() / each.norm().clamp(min=1e-12))
                for name, each in alone["gradients"].items()
            ),
        }
        for line in lines
    ]


def _rank(rank: int, count: int, start: str, folder: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MusicFlamingo(start).train()
    row = noise_row(model, Setting(Path(start), WINDOWS, questions=8, answer_tokens=40), answered=True)
    with _group(rank, count, folder):
        model.sharing = None if count == 1 else RowSharing(dist.group.WORLD)  # type: ignore[arg-type]
        with memory_profile() as recorded, record_function(WATCHED):
            loss = -model.target_logprobs(row)[0].mean()
            loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    left = sum(each.nbytes for each in gradients.values())
    result = {"peak": peak_bytes(recorded) - left, "loss": float(loss), "tokens": row.tree.num_tokens}
    torch.save({**result, "gradients": gradients}, Path(folder) / f"{rank}.pt")


@contextmanager
def _group(rank: int, count: int, folder: str) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", count), rank=rank, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
