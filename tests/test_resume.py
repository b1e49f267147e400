"""A run that is resumed from any of its checkpoints ends with the same weights, to the bit, and the same songs."""

import shutil
from pathlib import Path

import pytest
import torch

from music_flamingo.checkpoint_folder import CheckpointFolder
from music_flamingo.cli import main
from music_flamingo.evaluation.audit import audit
from tests.builders import model_directory, write_corpus
from tests.clap_builders import clap_directory, flamingo_directory

ROOT = Path(__file__).parents[1]
CALLBACKS = [
    "{class_path: music_flamingo.callbacks.Curriculum, init_args: {lessons: [{max_difficulty: 1}, {from_step: 3}]}}",
    "{class_path: music_flamingo.callbacks.GRPOSampling}",
    "{class_path: music_flamingo.callbacks.Ledger}",
    "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 1, keep: 100}}",
]


def fit_words(recipe: str, root: Path, **settings: object) -> list[str]:
    """The command that trains some steps of a recipe on `root/corpus`."""
    values = {
        "run.root": root,
        "run.start": model_directory(),
        "trainer.default_root_dir": root / "stage",
        "trainer.max_steps": 7,
        "trainer.limit_val_batches": 1,
        "trainer.val_check_interval": 2,
        "trainer.callbacks": f"[{', '.join(CALLBACKS)}]",
        "trainer.logger": "false",
        "trainer.enable_model_summary": "false",
        "data.corpus": root / "corpus",
        "data.max_duration": 20,
        **settings,
    }
    configs = [ROOT / "recipes" / "songbook" / recipe, ROOT / "recipes" / "overrides" / "debug.yaml"]
    words = [word for config in configs for word in ("--config", str(config))]
    return ["fit", *words, *(f"--{key}={value}" for key, value in values.items())]


def fit(recipe: str, root: Path, **settings: object) -> Path:
    """Train some steps; the folder this leaves."""
    assert main(fit_words(recipe, root, **settings)) == 0
    return root / "stage"


def weights(stage: Path) -> dict[str, torch.Tensor]:
    newest = max(stage.glob("checkpoints/*.ckpt"))
    state: dict[str, torch.Tensor] = CheckpointFolder(newest).state()["state_dict"]
    return state


def killed_after(step: int, whole: Path, stage: Path) -> None:
    """Leave what a run leaves that was killed after a step's checkpoint, with a ledger that is further."""
    shutil.rmtree(stage)
    shutil.copytree(whole, stage)
    (stage / "stage.json").unlink()
    for path in (stage / "checkpoints").glob("*.ckpt"):
        if path.name > f"step-{step:08d}.ckpt":
            shutil.rmtree(path)


LORA = (
    "{class_path: music_flamingo.models.LoRA, init_args: {rank: 2, alpha: 4, target_modules: [_proj$], dropout: 0.3}}"
)
CONTRASTIVE = {
    "run.start": clap_directory(),
    "run.flamingo": flamingo_directory(),
    "model.captions.class_path": "music_flamingo.data_modules.SongbookCaptions",
    "data.num_workers": 0,
    "trainer.callbacks": f"[{', '.join(each for each in CALLBACKS if 'GRPO' not in each)}]",
    "trainer.precision": "32-true",
}


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [
        ("2_sft.yaml", {}),
        ("2_sft.yaml", {"model.model.lora": LORA}),
        ("4_grpo.yaml", {"model.sampling.max_new_tokens": 12}),
        ("../audio_flamingo_2/0_contrastive.yaml", CONTRASTIVE),
    ],
)
def test_a_run_resumed_from_any_step_equals_the_uninterrupted_one(
    recipe: str, settings: dict[str, object], tmp_path: Path
) -> None:
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    stage = fit(recipe, tmp_path, **settings)
    whole = shutil.copytree(stage, tmp_path / "whole")
    expected, audited = weights(whole), audit(whole)
    assert [(each.epoch, each.lost, each.repeated) for each in audited[:2]] == [(0, 0, 0), (1, 0, 0)]
    assert audited[0].kept_out > 0
    for step in range(1, 7):
        killed_after(step, whole, stage)
        fit(recipe, tmp_path, **settings)
        assert all(torch.equal(value, expected[name]) for name, value in weights(stage).items()), step
        assert audit(stage) == audited, step


def test_no_row_is_trained_twice_where_an_epoch_ends_between_two_checkpoints(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    rolling = CALLBACKS[-1].replace("every_steps: 1,", "every_steps: 100,")
    stage = fit("2_sft.yaml", tmp_path, **{"trainer.callbacks": f"[{CALLBACKS[2]}, {rolling}]"})
    whole_epochs = audit(stage)[:-1]
    assert len(whole_epochs) >= 2
    assert {(each.lost, each.repeated) for each in whole_epochs} == {(0, 0)}


def test_a_run_goes_on_with_another_number_of_loading_processes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=5, held_out=2)
    stage = fit("2_sft.yaml", tmp_path)
    whole = shutil.copytree(stage, tmp_path / "whole")
    for step, workers in ((2, 2), (5, 1)):
        killed_after(step, whole, stage)
        fit("2_sft.yaml", tmp_path, **{"data.num_workers": workers})
        assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(stage).items())
        assert audit(stage) == audit(whole)
