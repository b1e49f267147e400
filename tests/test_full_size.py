"""Recipes of Music Flamingo's published size: built without memory, and run at tiny size."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from torch import nn
from transformers import MusicFlamingoForConditionalGeneration

from music_flamingo.cli import main
from music_flamingo.evaluation.curves import read_curves
from music_flamingo.invocation import Invocation, parse_invocation
from music_flamingo.models import CheckpointRoTE, NoTimeEmbedding, music_flamingo
from music_flamingo.recipe import read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.trainer_cli import RecipeCLI
from tests.builders import full_size_config, model_directory, write_corpus, write_transcripts

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes" / "music_flamingo"
TRANSCRIPTION = "1_transcription.yaml"
FROZEN = {
    (TRANSCRIPTION, "1_transcription_projector.yaml"): ("audio_tower", "language_model", "lm_head"),
    (TRANSCRIPTION, "1_transcription_encoder.yaml"): ("language_model", "lm_head"),
    (TRANSCRIPTION,): (),
    ("2_sft.yaml",): (),
    ("3_warmup.yaml",): (),
    ("4_grpo.yaml",): (),
}
"""What stays as it is, of the recipes laid over one another."""
BLENDS = {
    **{names: "af3_sft" for names in FROZEN if names[0] == TRANSCRIPTION},
    ("2_sft.yaml",): "mf_sft",
    ("3_warmup.yaml",): "mf_warmup",
    ("4_grpo.yaml",): "mf_grpo",
}


class Built(RecipeCLI):
    """What a recipe makes, and no run of it."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def built(recipes: tuple[str, ...], **settings: object) -> Built:
    words = [word for name in recipes for word in ("--config", str(FOLDER / name))]
    words += [f"--{key}={value}" for key, value in settings.items()]
    invocation: Invocation = parse_invocation(words)
    recipe = read_recipe(invocation.configs, invocation.overrides)
    check_recipe(recipe, "fit", ALLOWED_PACKAGES)
    return Built("fit", recipe, invocation)


def without_storage(*_: object) -> MusicFlamingoForConditionalGeneration:
    with torch.device("meta"):
        return MusicFlamingoForConditionalGeneration(full_size_config())


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: each.shape for name, each in module.state_dict().items()}


def test_there_are_no_other_recipes() -> None:
    assert {name for names in FROZEN for name in names} == {path.name for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("recipes", FROZEN, ids=lambda names: names[-1])
def test_a_recipe_builds_the_published_model_without_memory(
    recipes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(music_flamingo, "load_weights", without_storage)
    cli = built(recipes, **{"run.root": tmp_path, "run.start": model_directory()})
    network = cli.model.model.network
    assert shapes(network) == shapes(without_storage())
    assert all(each.device.type == "meta" for each in network.parameters())
    assert round(sum(each.numel() for each in network.parameters()) / 1e6) == 8270
    frozen = {name for name, each in network.named_parameters() if not each.requires_grad}
    stays = re.compile("|".join((*FROZEN[recipes], "embed_positions")))
    assert frozen == {name for name, _ in network.named_parameters() if stays.search(name)}
    optimizer = cli.model.optimizer([each for each in network.parameters() if each.requires_grad])
    assert optimizer.defaults["weight_decay"] == 0.0
    assert cli.trainer.precision == "bf16-mixed"
    heard_without_time = recipes[0] == TRANSCRIPTION
    assert isinstance(cli.model.model.time_embedding, NoTimeEmbedding if heard_without_time else CheckpointRoTE)


def passes(blend: str) -> dict[str, float]:
    """Of each source of a blend, by its folder."""
    content = read_recipe([ROOT / "recipes" / "blends" / f"{blend}.yaml"], []).settings()["data"]["init_args"]
    return {Path(each["corpus"]).name: each["passes"] for each in content["corpus"]["init_args"]["sources"]}


def table_2() -> dict[str, list[str]]:
    """Source -> the other cells of its line."""
    page = (ROOT / "docs" / "recipes.md").read_text().partition("## Table 2")[2]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


@pytest.mark.parametrize(
    ("recipes", "blend"), BLENDS.items(), ids=lambda each: each if isinstance(each, str) else each[-1]
)
def test_a_recipe_takes_an_epoch_of_the_papers_pairs(recipes: tuple[str, ...], blend: str) -> None:
    header, *lines = table_2().items()
    column = header[1].index(blend)
    listed = {source: cells for source, cells in lines if not source.startswith("-")}
    assert passes(blend) == {source: float(cells[column]) for source, cells in listed.items() if cells[column]}
    pairs = sum(int(listed[source][0].replace(",", "")) * count for source, count in passes(blend).items())
    trainer = read_recipe([FOLDER / name for name in recipes], []).settings()["trainer"]
    step = next(each for each in trainer["callbacks"] if each["class_path"].endswith("GlobalBatch"))
    assert trainer["max_steps"] == pytest.approx(pairs / step["init_args"]["sequences"], rel=1e-3)
    assert f"{trainer['max_steps']:,}" in (ROOT / "docs" / "recipes.md").read_text()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs with transcripts, and with thoughts to every answer."""
    folder = write_transcripts(
        write_corpus(tmp_path_factory.mktemp("corpus"), train=4, held_out=2), {"en": "yes fast", "zh": "yes"}
    )
    for file in folder.glob("cuts_*"):
        cuts = list(CutSet.from_jsonl_lazy(file))
        for cut in cuts:
            asked = cut.custom["conversations"]
            cut.custom["conversations"] = [{**each, "thoughts": "with drums"} for each in asked[:3] + asked[-2:]]
        CutSet(cuts).to_file(file)
    return folder


def fit_words(recipes: tuple[str, ...], corpus: Path, folder: Path, **settings: object) -> list[str]:
    """A fit of two steps with a tiny model."""
    configs = [*(FOLDER / name for name in recipes), ROOT / "recipes/overrides/debug.yaml"]
    values: dict[str, object] = {
        "run.root": folder,
        "run.start": model_directory(),
        "trainer.default_root_dir": folder / "stage",
        "trainer.precision": "32-true",  # a CPU takes its time over bfloat16
        "data.corpus": corpus,
        "data.max_tokens": 1200,
        "data.num_workers": 0,
        **({"model.max_new_tokens": 8} if recipes[0] in (TRANSCRIPTION, "3_warmup.yaml") else {}),
        **({"model.sampling.max_new_tokens": 8} if recipes[0] == "4_grpo.yaml" else {}),
        **callbacks_at_tiny_size(recipes),
        **settings,
    }
    words = [word for config in configs for word in ("--config", str(config))]
    return ["fit", *words, *(f"--{key}={value}" for key, value in values.items())]


@pytest.mark.parametrize("recipes", FROZEN, ids=lambda names: names[-1])
def test_a_recipe_runs_two_steps_at_tiny_size(recipes: tuple[str, ...], corpus: Path, tmp_path: Path) -> None:
    assert main(fit_words(recipes, corpus, tmp_path)) == 0
    assert json.loads((tmp_path / "stage" / "stage.json").read_text())["seconds"] > 0
    assert MusicFlamingoForConditionalGeneration.from_pretrained(tmp_path / "stage/export", local_files_only=True)


def test_sft_adds_the_time_embedding_that_transcription_was_trained_without(corpus: Path, tmp_path: Path) -> None:
    assert main(fit_words((TRANSCRIPTION,), corpus, tmp_path / "one")) == 0
    first = tmp_path / "one/stage/export"
    assert isinstance(music_flamingo.MusicFlamingo(str(first)).time_embedding, NoTimeEmbedding)
    assert main(fit_words(("2_sft.yaml",), corpus, tmp_path / "two", **{"run.start": first})) == 0
    second = tmp_path / "two/stage/export"
    assert isinstance(music_flamingo.MusicFlamingo(str(second)).time_embedding, CheckpointRoTE)


def test_two_processes_share_a_step_and_count_together(corpus: Path, tmp_path: Path) -> None:
    settings = {"data.max_tokens": 600, "trainer.devices": 2, "trainer.strategy": "ddp"}
    words = fit_words((TRANSCRIPTION,), corpus, tmp_path, **settings)
    command = Path(sys.executable).parent / "music-flamingo"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, str(command), *words], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("a step: 20 sequences") == 1
    assert "(2 devices x 2 rows of 5 sequences" in done.stdout
    logged = {curve.tag: curve.values for curve in read_curves(tmp_path / "stage" / "tensorboard")}
    assert set(logged["global_batch/sequences"]) == {20.0}
    assert logged["val/wer/en"][0] > 0
    assert logged["val/cer/zh"][0] > 0


def callbacks_at_tiny_size(recipes: tuple[str, ...]) -> dict[str, object]:
    """The recipe's own, with a step of few sequences and short samples."""
    callbacks = read_recipe([FOLDER / name for name in recipes], []).settings()["trainer"]["callbacks"]
    in_step = 10 if recipes == ("4_grpo.yaml",) else 20  # rows of about ten
    changed = {
        "GlobalBatch": {"sequences": in_step, "tolerance": 0.5},
        "SampleLogger": {"max_new_tokens": 8},
        "HFExport": {"processor": str(model_directory())},
    }
    for each in callbacks:
        own = changed.get(each["class_path"].rpartition(".")[2], {})
        each["init_args"] = {**each.get("init_args", {}), **own}
    return {"trainer.callbacks": json.dumps(callbacks)}
