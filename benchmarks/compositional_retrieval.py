"""Do compositional negatives teach AF-CLAP who enters first, and which instrument, tempo or texture it is?

    python benchmarks/compositional_retrieval.py --seeds 0 1 --steps 1200 --encoder runs/songbook_0/0_tagging/export

Each seed trains twice from the same weights, with as many steps on the same clips: with negatives and without. With
`--encoder` the audio tower is a frozen one that has heard before, of an Audio Flamingo 2 after
recipes/audio_flamingo_2/songbook_0_tagging.yaml. Then, on held-out clips, a caption is right where it is nearer to its
clip than the same caption with one thing false: by chance half of them are. Writes
benchmarks/results/<date>-compositional-retrieval.json, and the same as Markdown.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from music_flamingo.corpora.songbook.caption_variants import Negative, caption_variants, facts_of
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.evaluation.intervals import Interval, bootstrap_interval, paired_difference_interval
from music_flamingo.evaluation.retrieval import found_share
from music_flamingo.models import AFClap
from music_flamingo.models.audio_flamingo_2 import AFClapModel, AudioFlamingo2Model

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("music-flamingo")
RECIPES = ("0_contrastive", "songbook_0_contrastive")
NEGATIVES = (2, 0)
FURTHER_FACTS = 1
"""Said beside who plays."""
SECONDS_A_STEP = 320
"""32 clips."""
CAPTION_SEEDS = range(1_000, 1_008)
"""Each a wording of every held-out clip, saying another fact. No training has them; the clips are others anyway."""
ANY, ORDER, REPLACED = "any of these", "order of entries exchanged", "one thing replaced"


class Comparison(NamedTuple):
    """Whether a caption is nearer to its clip than a false one."""

    seed: int
    clip: str
    piece: str
    kind: str
    right: float


class Measured(NamedTuple):
    """Of a trained model."""

    comparisons: list[Comparison]
    found: float


def main() -> None:
    """Train every seed with and without negatives, then write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=None, help="in place of the recipe's")
    parser.add_argument("--encoder", type=Path, default=None, help="Audio Flamingo 2 whose audio tower to take")
    parser.add_argument("--skip-training", action="store_true", help="measure the models of earlier runs")
    arguments = parser.parse_args()
    corpus, flamingo = arguments.runs / "songbook_corpus", arguments.runs / "clap_windows"
    if not arguments.skip_training:
        if not (corpus / "cuts_test.jsonl.gz").is_file():
            run("songbook", "--out", corpus)
        run("init", "--out", flamingo, "--corpus", corpus, "--preset", "audio-flamingo-2-tiny")
        for seed in arguments.seeds:
            train(arguments.runs / f"clap_{seed}", corpus, flamingo, seed, arguments.steps, arguments.encoder)
    data = ConversationDataModule(str(corpus), str(flamingo), DirectAnswers())
    data.setup("test")
    measured = {
        number: [measure(export_of(arguments.runs, seed, number), data, seed) for seed in arguments.seeds]
        for number in NEGATIVES
    }
    write(measured, arguments.seeds)


def export_of(runs: Path, seed: int, num_negatives: int) -> Path:
    """Where a trained model is."""
    return runs / f"clap_{seed}" / f"negatives_{num_negatives}" / "export"


def train(root: Path, corpus: Path, flamingo: Path, seed: int, steps: int | None, encoder: Path | None) -> None:
    """Both trainings of a seed, from the same model."""
    run("init", "--out", root / "0_clap", "--corpus", corpus, "--seed", seed, "--preset", "af-clap-tiny")
    if encoder is not None:
        take_encoder(root / "0_clap", encoder)
    for number in NEGATIVES:
        settings = [f"--config=recipes/audio_flamingo_2/{recipe}.yaml" for recipe in RECIPES]
        settings += [f"--run.root={root}", f"--run.name=negatives_{number}", f"--run.seed={seed}"]
        settings += [f"--run.flamingo={flamingo}", f"--data.corpus={corpus}"]
        settings += [f"--model.captions.num_negatives={number}", "--model.captions.num_positives=1"]
        settings += [f"--model.captions.further_facts={FURTHER_FACTS}", f"--data.max_duration={SECONDS_A_STEP}"]
        settings += [] if steps is None else [f"--trainer.max_steps={steps}"]
        settings += [] if encoder is None else frozen_encoder(root)
        run("fit", *settings)


def frozen_encoder(root: Path) -> list[str]:
    """Settings for an audio tower that stays as it is and hears a clip once."""
    cache = "--model.model.encoder_cache"
    kept = [f"{cache}=music_flamingo.models.EncoderCache", f"{cache}.folder={root / 'encoder_cache'}"]
    return ["--model.freeze=[audio_tower]", *kept, f"{cache}.dtype=float32"]


def take_encoder(clap: Path, flamingo: Path) -> None:
    """Put the audio tower of an Audio Flamingo 2 into an AF-CLAP directory."""
    network = AFClapModel.from_pretrained(clap, local_files_only=True)
    tower = AudioFlamingo2Model.from_pretrained(flamingo, local_files_only=True).audio_tower
    network.audio_tower.load_state_dict(tower.state_dict())
    network.save_pretrained(clap)


def run(*words: object) -> None:
    """One `music-flamingo` command; a failure ends the benchmark."""
    subprocess.run([str(COMMAND), *map(str, words)], check=True, cwd=ROOT)


@torch.no_grad()
def measure(export: Path, data: ConversationDataModule, seed: int) -> Measured:
    """All comparisons on held-out clips, and the share of clips that find their caption among all clips'."""
    model = AFClap(str(export)).eval()
    comparisons, clips, captions = [], [], []
    for row in data.test_dataloader():
        vectors = model.embed_songs(row)
        for root, vector, windows in zip(row.tree.roots(), vectors, row.window_counts, strict=True):
            if windows > 1:
                continue
            worded = [compare(model, row.examples[root], vector, seed, number) for number in CAPTION_SEEDS]
            comparisons += [each for compared, _ in worded for each in compared]
            clips.append(vector)
            captions.append(worded[0][1])
    return Measured(comparisons, float(found_share(torch.stack(clips), torch.stack(captions))))


def compare(
    model: AFClap, example: Mapping[str, Any], vector: Tensor, seed: int, caption_seed: int
) -> tuple[list[Comparison], Tensor]:
    """One wording of a clip of unit vector (D,) against all that is false of it, and (1, D) of the true caption."""
    truth, clip = example["custom"]["truth"], str(example["cut"])
    facts = facts_of(truth)
    (variant,) = caption_variants(
        truth, clip, num_positives=1, num_negatives=1 + FURTHER_FACTS, seed=caption_seed, further_facts=FURTHER_FACTS
    )
    texts = model.embed_texts([variant.text, *(negative.text for negative in variant.negatives)])
    near, *false = (texts @ vector).tolist()
    piece = str(example["custom"]["piece"])
    compared = [
        Comparison(seed, clip, piece, kind_of(negative, facts), float(near > other))
        for negative, other in zip(variant.negatives, false, strict=True)
    ]
    return compared, texts[:1]


def kind_of(negative: Negative, facts: dict[str, tuple[str, ...]]) -> str:
    """What is false: the order in which instruments enter, or a field's value."""
    exchanged = negative.field == "entries" and sorted(negative.value) == sorted(facts["entries"])
    return ORDER if exchanged else negative.field


def table(measured: dict[int, list[Measured]]) -> list[dict[str, Any]]:
    """A row for all, for each kind, and for all replacements together: all seeds in one, and each seed's share."""
    grouped: dict[int, dict[str, list[Comparison]]] = {number: defaultdict(list) for number in NEGATIVES}
    for number, models in measured.items():
        for comparison in (each for model in models for each in model.comparisons):
            grouped[number][comparison.kind].append(comparison)
            grouped[number][ANY].append(comparison)
            if comparison.kind != ORDER:
                grouped[number][REPLACED].append(comparison)
    fields = sorted(set(grouped[NEGATIVES[0]]) - {ANY, ORDER, REPLACED})
    return [
        table_row(kind, *(grouped[number][kind] for number in NEGATIVES)) for kind in (ANY, ORDER, REPLACED, *fields)
    ]


def table_row(kind: str, with_negatives: Sequence[Comparison], without: Sequence[Comparison]) -> dict[str, Any]:
    """Shares of one kind, and their difference, with intervals over pieces."""
    pieces = [each.piece for each in with_negatives]
    values = [[each.right for each in comparisons] for comparisons in (with_negatives, without)]
    of_seed = {
        seed: [
            mean([each.right for each in comparisons if each.seed == seed]) for comparisons in (with_negatives, without)
        ]
        for seed in sorted({each.seed for each in with_negatives})
    }
    return {
        "kind": kind,
        "comparisons": len(pieces) // len(of_seed),
        "with": bounds(bootstrap_interval(values[0], pieces)),
        "without": bounds(bootstrap_interval(values[1], pieces)),
        "difference": bounds(paired_difference_interval(values[0], values[1], pieces)),
        "seeds": of_seed,
    }


def mean(values: Sequence[float]) -> float:
    """Of one value at least."""
    return sum(values) / len(values)


def bounds(interval: Interval) -> list[float]:
    """Mean, lower and upper bound."""
    return [interval.mean, interval.low, interval.high]


def write(measured: dict[int, list[Measured]], seeds: list[int]) -> None:
    """JSON, and Markdown as a table."""
    date = datetime.now(UTC).date().isoformat()
    about = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lightning", "lhotse")},
        "command": " ".join(sys.argv),
        "found": {number: [model.found for model in models] for number, models in measured.items()},
    }
    path = ROOT / "benchmarks" / "results" / f"{date}-compositional-retrieval.md"
    rows = table(measured)
    path.with_suffix(".json").write_text(json.dumps({**about, "kinds": rows}, indent=1) + "\n")
    path.write_text(markdown(about, rows, seeds))
    sys.stdout.write(f"{path}\n")


def markdown(about: dict[str, Any], rows: list[dict[str, Any]], seeds: list[int]) -> str:
    """The table, and how often a clip finds its caption among those of all held-out clips."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"AF-CLAP with and without compositional negatives, {about['date']}, seeds {', '.join(map(str, seeds))}: share "
        "of held-out captions that are nearer to their clip than the same caption with one thing false; half by "
        "chance; in brackets 95 % intervals over pieces.",
        "",
        f"{about['machine']}; {versions}; `{about['command']}`",
        "",
        "| what is false | comparisons a seed | with | without | difference | each seed, with and without |",
        "|---" * 6 + "|",
    ]
    for row in rows:
        shares = ["{:.3f} ({:.3f} to {:.3f})".format(*row[name]) for name in ("with", "without")]
        difference = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference"])
        of_seed = ", ".join("{:.3f} / {:.3f}".format(*pair) for pair in row["seeds"].values())
        lines.append(f"| {row['kind']} | {row['comparisons']} | {' | '.join([*shares, difference, of_seed])} |")
    found = "; ".join(
        f"{name} negatives {', '.join(f'{share:.3f}' for share in about['found'][number])}"
        for name, number in zip(("with", "without"), NEGATIVES, strict=True)
    )
    lines += ["", f"Share of clips that find their own caption among all held-out clips' captions: {found}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
