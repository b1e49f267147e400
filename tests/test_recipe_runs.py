"""Every songbook recipe is instantiated and run two steps, through the command line."""

import json
from pathlib import Path

import pytest
from transformers import MusicFlamingoForConditionalGeneration

from music_flamingo.cli import main
from tests.builders import model_directory, write_corpus

ROOT = Path(__file__).parents[1]
SONGBOOK = ROOT / "recipes" / "songbook"
STAGES = [
    ["1_tagging.yaml"],
    ["2_sft.yaml"],
    ["3_warmup.yaml"],
    ["4_grpo.yaml"],
    ["3_warmup.yaml", "control.yaml"],
    ["3_warmup.yaml", "clean.yaml"],
    ["2_sft.yaml", "../overrides/own_songs.yaml"],
    ["2_sft.yaml", "../overrides/lora.yaml"],
]


def command(verb: str, recipes: list[str], root: Path) -> list[str]:
    configs = [SONGBOOK / name for name in recipes] + [ROOT / "recipes" / "overrides" / "debug.yaml"]
    words = [word for config in configs for word in ("--config", str(config))]
    settings = {
        "run.root": root,
        "run.start": model_directory(),
        "trainer.default_root_dir": root / "stage",
        "data.corpus": root / "corpus",
        "data.max_duration": 20,
    }
    return [verb, *words, *(f"--{key}={value}" for key, value in settings.items())]


@pytest.mark.parametrize("recipes", STAGES, ids=lambda names: names[-1])
def test_every_stage_runs_two_steps_and_leaves_what_it_promises(recipes: list[str], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("fit", recipes, tmp_path)) == 0
    stage = tmp_path / "stage"
    assert (stage / "recipe.yaml").is_file()
    assert json.loads((stage / "stage.json").read_text())["seconds"] > 0
    assert list(stage.glob("tensorboard/**/events*"))
    assert MusicFlamingoForConditionalGeneration.from_pretrained(stage / "export", local_files_only=True)


def test_test_writes_predictions_of_the_exported_model(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("test", ["4_grpo.yaml"], tmp_path)) == 0
    rows = [json.loads(line) for line in (tmp_path / "stage" / "predictions.jsonl").read_text().splitlines()]
    assert {row["audio"] for row in rows} == {"own", "other"}
    assert {row["cut"] for row in rows} == {"test-0", "test-1"}
