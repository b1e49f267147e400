"""Does a training run that is killed two hundred times lose or repeat anything?

    python -m benchmarks.kill             200 kills, about 20 minutes
    python -m benchmarks.kill --kills 9
    python -m benchmarks.kill --kills 20 --runs "sft, one of 2 ranks, FSDP2" --result kill-ranks

Four runs (supervised, supervised with loading processes, GRPO, supervised on two ranks of which one is killed) on a
small songbook, each first undisturbed, then killed with SIGKILL: a third of the times while it writes a checkpoint,
the others in validation, in rollouts, and anywhere. Each is right if the ledger shows every song once and the weights
are those of the undisturbed run, to the bit. Writes benchmarks/results/DATE-kill.json and the same as Markdown.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.kill.killing import Killer
from music_flamingo.checkpoint_folder import CheckpointFolder
from music_flamingo.corpora.songbook.build import songbook_command
from music_flamingo.evaluation.audit import audit
from music_flamingo.new_model import init_command

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CALLBACKS = [
    "{class_path: music_flamingo.callbacks.Curriculum, init_args: {lessons: [{max_difficulty: 3}, {from_step: 20}]}}",
    "{class_path: music_flamingo.callbacks.GRPOSampling}",
    "{class_path: music_flamingo.callbacks.Ledger}",
    "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 2}}",
]
TWO_RANKS = {"trainer.devices": 2, "trainer.strategy": "{class_path: music_flamingo.strategies.FullySharded}"}
RUNS: dict[str, tuple[str, tuple[str, ...], dict[str, object]]] = {
    "sft": ("2_sft", ("checkpoint", "anywhere", "validation"), {"trainer.max_steps": 200}),
    "sft, 2 loading processes": (
        "2_sft",
        ("checkpoint", "anywhere", "validation"),
        {"trainer.max_steps": 200, "data.num_workers": 2},
    ),
    "grpo": (
        "4_grpo",
        ("checkpoint", "rollout", "validation", "checkpoint", "rollout", "anywhere"),
        {"trainer.max_steps": 60, "model.sampling.max_new_tokens": 24},
    ),
    "sft, one of 2 ranks, FSDP2": (
        "2_sft",
        ("checkpoint", "anywhere", "checkpoint", "validation"),
        {"trainer.max_steps": 60, **TWO_RANKS},
    ),
}
"""Recipe, where to kill in turn, settings."""


@dataclass(frozen=True)
class Row:
    """What came of one run."""

    run: str
    kills: dict[str, int]
    inside: dict[str, int]
    starts: int
    ends: int
    ends_with_other_weights: int
    lost: int
    repeated: int
    seconds: int

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    @property
    def line(self) -> str:
        inside = ", ".join(str(self.inside.get(place, 0)) for place in ("checkpoint", "validation", "rollout"))
        words = [self.run, self.total, inside, self.ends, self.ends_with_other_weights, self.lost, self.repeated]
        return f"| {' | '.join(map(str, words))} |"


def main() -> None:
    """Kill, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS), metavar="RUN", help="of the four")
    parser.add_argument("--result", default="kill", help="name of the table")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names = arguments.runs
    shares = [arguments.kills // len(names)] * len(names)
    shares[-1] += arguments.kills - sum(shares)
    with tempfile.TemporaryDirectory(prefix="music-flamingo-kill-") as folder:
        root = Path(folder)
        songbook_command(root / "corpus", clips=60, full_pieces=0, workers=2)
        init_command(root / "start", root / "corpus")
        rows = [measure(name, kills, arguments.seed, root) for name, kills in zip(names, shares, strict=True)]
    write(rows, arguments.result, sys.argv[1:])


def measure(name: str, kills: int, seed: int, root: Path) -> Row:
    """One run, undisturbed and killed so many times."""
    recipe, places, settings = RUNS[name]
    words = command(recipe, root, settings)
    log = root / "log.txt"
    ranks = int(str(settings.get("trainer.devices", 1)))
    undisturbed = Killer(words, log, ranks=ranks)
    undisturbed.run([])
    expected = weights_hash(root / "stage")
    killer = Killer(words, log, seed, ranks)
    ends = Counter[str]()
    started = time.monotonic()
    with tqdm(total=kills, desc=name, unit="kill") as bar:
        while killer.kills.total() < kills:
            shutil.rmtree(root / "stage")
            left = kills - killer.kills.total()
            killer.run([places[number % len(places)] for number in range(left)], bar.update)
            audited = audit(root / "stage")
            ends["all"] += 1
            ends["other weights"] += weights_hash(root / "stage") != expected
            ends["lost"] += sum(each.lost or 0 for each in audited)
            ends["repeated"] += sum(each.repeated for each in audited)
    shutil.rmtree(root / "stage")
    return Row(
        run=name,
        kills=dict(killer.kills),
        inside=dict(killer.inside),
        starts=killer.starts,
        ends=ends["all"],
        ends_with_other_weights=ends["other weights"],
        lost=ends["lost"],
        repeated=ends["repeated"],
        seconds=round(time.monotonic() - started),
    )


def command(recipe: str, root: Path, settings: Mapping[str, object]) -> list[str]:
    """What is typed each time."""
    values = {
        "run.root": root,
        "run.start": root / "start",
        "trainer.default_root_dir": root / "stage",
        "trainer.callbacks": f"[{', '.join(CALLBACKS)}]",
        "trainer.logger": "false",
        "trainer.enable_model_summary": "false",
        "trainer.limit_val_batches": 1,
        "trainer.val_check_interval": 5,
        "data.max_duration": 20,
        "data.test_max_duration": 20,
        **settings,
    }
    configs = [ROOT / "recipes" / "songbook" / f"{recipe}.yaml", ROOT / "recipes" / "overrides" / "debug.yaml"]
    return [
        "fit",
        *(word for config in configs for word in ("--config", str(config))),
        *(f"--{key}={value}" for key, value in values.items()),
    ]


def weights_hash(stage: Path) -> str:
    """Of all weights of a run's last checkpoint."""
    weights = CheckpointFolder(max(stage.glob("checkpoints/*.ckpt"))).state()["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write(rows: Sequence[Row], name: str, words: Sequence[str]) -> None:
    """JSON and Markdown, and what they say."""
    date = datetime.now(UTC).date().isoformat()
    about = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "versions": {name: version(name) for name in ("torch", "lightning", "lhotse")},
        "command": shlex.join(["python", "-m", "benchmarks.kill", *words]),
        "runs": [asdict(row) for row in rows],
    }
    (RESULTS / f"{date}-{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    table = [
        f"Training runs killed with SIGKILL, {date}: {about['machine']}.",
        "Each start is the same command. `inside`: the kill came before what had begun there had ended.",
        "",
        "| run | kills | of them inside a checkpoint, a validation, a rollout | ended | with other weights | lost | "
        "repeated |",
        "|---|---|---|---|---|---|---|",
        *(row.line for row in rows),
    ]
    (RESULTS / f"{date}-{name}.md").write_text("\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
