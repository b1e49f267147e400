"""TinyMU and Audio Flamingo 2 go through every stage by the same recipes, commands and callbacks as Music Flamingo."""

import json
from pathlib import Path

import pytest
from transformers import AutoModel, AutoModelForMultimodalLM

from music_flamingo.cli import main
from tests.builders import preset_directory, write_corpus

RECIPES = Path(__file__).parents[1] / "recipes"
TINYMU, AF2, CLAP = "tinymu-tiny", "audio-flamingo-2-tiny", "af-clap-tiny"
STAGES = [
    (TINYMU, ["songbook/1_tagging", "tinymu/songbook_1_tagging"]),
    (TINYMU, ["songbook/2_sft", "tinymu/songbook_2_sft"]),
    (TINYMU, ["songbook/3_warmup", "tinymu/songbook_3_thinking"]),
    (TINYMU, ["songbook/4_grpo", "tinymu/songbook_3_thinking"]),
    (AF2, ["songbook/1_tagging", "audio_flamingo_2/songbook_0_tagging"]),
    (CLAP, ["audio_flamingo_2/0_contrastive", "audio_flamingo_2/songbook_0_contrastive"]),
    (AF2, ["audio_flamingo_2/1_alignment", "audio_flamingo_2/songbook_1_alignment"]),
    (AF2, ["audio_flamingo_2/2_sft", "audio_flamingo_2/songbook_2_sft"]),
    (AF2, ["audio_flamingo_2/3_long", "audio_flamingo_2/songbook_3_long"]),
    (AF2, ["songbook/3_warmup", "audio_flamingo_2/songbook_thinking"]),
    (AF2, ["songbook/4_grpo", "audio_flamingo_2/songbook_thinking"]),
]


def command(verb: str, preset: str, recipes: list[str], root: Path) -> list[str]:
    configs = [RECIPES / f"{name}.yaml" for name in [*recipes, "overrides/debug"]]
    words = [word for config in configs for word in ("--config", str(config))]
    settings = {
        "run.root": root,
        "run.start": preset_directory(preset),
        "trainer.default_root_dir": root / "stage",
        "data.corpus": root / "corpus",
        "data.max_duration": 20,
        **({"run.clap": preset_directory(CLAP)} if "audio_flamingo_2/1_alignment" in recipes else {}),
        **({"run.flamingo": preset_directory(AF2)} if preset == CLAP else {}),
    }
    return [verb, *words, *(f"--{key}={value}" for key, value in settings.items())]


@pytest.mark.parametrize(("preset", "recipes"), STAGES, ids=lambda each: each if isinstance(each, str) else each[-1])
def test_every_stage_runs_two_steps_and_leaves_what_its_checkpoint_exports(
    preset: str, recipes: list[str], tmp_path: Path
) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("fit", preset, recipes, tmp_path)) == 0
    stage = tmp_path / "stage"
    assert json.loads((stage / "stage.json").read_text())["seconds"] > 0
    auto = AutoModel if preset == CLAP else AutoModelForMultimodalLM
    assert auto.from_pretrained(stage / "export", local_files_only=True)
    assert main(["export", str(stage), "--out", str(tmp_path / "exported")]) == 0
    for name in {path.name for path in (stage / "export").iterdir()} - {"README.md"}:
        assert (tmp_path / "exported" / name).read_bytes() == (stage / "export" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("preset", "recipes"),
    [(TINYMU, STAGES[3][1]), (AF2, STAGES[-1][1])],
    ids=[TINYMU, AF2],
)
def test_test_and_ask_answer(preset: str, recipes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("test", preset, recipes, tmp_path)) == 0
    rows = [json.loads(line) for line in (tmp_path / "stage" / "predictions.jsonl").read_text().splitlines()]
    assert {row["audio"] for row in rows} == {"own", "other"}
    assert {row["cut"] for row in rows} == {"test-0", "test-1"}
    song = next((tmp_path / "corpus").rglob("test-0.flac"), None) or next((tmp_path / "corpus").rglob("*test*.*"))
    capsys.readouterr()
    asked = ["ask", "--model", str(preset_directory(preset)), "--max-new-tokens", "4", str(song), "Are there drums?"]
    assert main(asked) == 0
    assert capsys.readouterr().err == ""
