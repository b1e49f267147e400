"""Does `music-flamingo plan` know how much memory training takes? Planned beside measured peaks, on the CPU.

    python -m benchmarks.memory

Writes benchmarks/results/DATE-plan-memory.json and .md.
"""

import json
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.claim_scripts import RESULTS
from benchmarks.memory.steps import Compared, Setting, rollout, training_step, untrained
from music_flamingo.models import LoRA

MUST = 0.10
MIB = 1024**2
LAYERS = ["audio_tower.conv", "audio_tower.layers.0"]


def settings(tiny: Path, small: Path) -> Iterator[tuple[str, Setting]]:
    """What is measured of training steps."""
    song = Setting(tiny, windows=8)
    for windows in (1, 4, 16):
        yield f"tiny, {10 * windows} s", replace(song, windows=windows)
    yield "tiny, 80 s, 20 questions", replace(song, questions=20)
    yield "tiny, 80 s, recomputing", replace(song, recompute_above=0)
    yield "tiny, 80 s, recomputing layers", replace(song, recompute_layers_above=0)
    yield "tiny, 80 s, encoder trained, recomputing layers", replace(song, freeze=(), recompute_layers_above=0)
    yield "tiny, 80 s, encoder trained", replace(song, freeze=())
    yield "tiny, 80 s, encoder trained, recomputing", replace(song, freeze=(), recompute_above=0)
    yield "tiny, 80 s, half of the encoder trained", replace(song, freeze=LAYERS)
    yield "tiny, 80 s, projector alone", replace(song, freeze=["audio_tower", "language_model", "lm_head"])
    yield "tiny, 80 s, bf16-mixed", replace(song, precision="bf16-mixed")
    yield "tiny, 80 s, bf16-mixed, recomputing", replace(song, precision="bf16-mixed", recompute_above=0)
    yield "tiny, 80 s, bf16-mixed, encoder trained", replace(song, precision="bf16-mixed", freeze=())
    lora = LoRA(64, 16, ["_proj$"], 0.05)
    yield "tiny, 80 s, LoRA", replace(song, lora=lora)
    yield "tiny, 80 s, LoRA, bf16-mixed", replace(song, lora=lora, precision="bf16-mixed")
    yield "tiny, 80 s, LoRA without dropout", replace(song, lora=LoRA(8, 16, ["q_proj", "v_proj"]))
    yield "small, 120 s", Setting(small, windows=4)
    yield "small, 120 s, recomputing", Setting(small, windows=4, recompute_above=0)
    yield "small, 120 s, recomputing layers", Setting(small, windows=4, recompute_layers_above=0)
    mixed = Setting(small, windows=4, freeze=(), precision="bf16-mixed")
    yield "small, 120 s, encoder trained, bf16-mixed, recomputing", replace(mixed, recompute_above=0)
    yield "small, 120 s, encoder trained, bf16-mixed, recomputing layers", replace(mixed, recompute_layers_above=0)


def rollouts(tiny: Path, small: Path) -> Iterator[tuple[str, Setting]]:
    """What is measured of rollouts."""
    yield "tiny, 40 s, 3 x 5 completions of 64", Setting(tiny, 4, answer_tokens=64)
    yield "tiny, 10 s, 10 x 5 completions of 256", Setting(tiny, 1, questions=10, answer_tokens=256)
    yield "tiny, 40 s, bf16-mixed", Setting(tiny, 4, answer_tokens=64, precision="bf16-mixed")
    yield "small, 60 s, 2 x 5 completions of 64", Setting(small, 2, questions=2, answer_tokens=64)


def main() -> None:
    """Measure, print and write."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        tiny, small = (untrained(preset, Path(folder)) for preset in ("tiny", "small"))
        step = partial(training_step, folder=Path(folder) / "runs")
        lines = [_measure("SFT step", name, step, each) for name, each in settings(tiny, small)]
        lines += [_measure("rollout", name, rollout, each) for name, each in rollouts(tiny, small)]
    date = datetime.now(UTC).date().isoformat()
    versions = {name: version(name) for name in ("torch", "transformers", "lightning", "peft")}
    about = {"date": date, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions}
    told = f"{date}: {about['machine']}, {', '.join(f'{name} {number}' for name, number in versions.items())}"
    head = [
        f"Peak memory of tensors on a CPU, planned beside measured, {told}.",
        f"By `python -m benchmarks.memory`. Must: within {MUST:.0%}.",
        "",
        "| what | setting | tokens | measured | planned | planned / measured | fullest moment as planned | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    path = RESULTS / f"{date}-plan-memory"
    path.with_suffix(".json").write_text(json.dumps({**about, "must": MUST, "steps": lines}, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join([*head, *map(_table_line, lines)]) + "\n")
    print(path.with_suffix(".md"))


def _measure(
    what: str, name: str, step: Callable[[Setting], Compared], setting: Setting
) -> dict[str, str | float | bool]:
    compared = step(setting)
    line = {
        "what": what,
        "setting": name,
        "tokens": compared.tokens,
        "measured_mib": round(compared.measured / MIB, 2),
        "planned_mib": round(compared.planned.total / MIB, 2),
        "ratio": round(compared.ratio, 3),
        "moment": compared.planned.name,
        "holds": abs(compared.ratio - 1) <= MUST,
    }
    print(_table_line(line), flush=True)
    return line


def _table_line(line: dict[str, str | float | bool]) -> str:
    sizes = f"{line['measured_mib']:.1f} MiB | {line['planned_mib']:.1f} MiB | {line['ratio']:.3f}"
    holds = "yes" if line["holds"] else "no"
    return f"| {line['what']} | {line['setting']} | {line['tokens']:,} | {sizes} | {line['moment']} | {holds} |"


if __name__ == "__main__":
    main()
