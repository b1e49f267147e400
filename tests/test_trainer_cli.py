import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from music_flamingo.errors import UserError
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.trainer_cli import peak_rss_mib, run_verb
from music_flamingo.whole_files import write_text

ALLOWED = (*ALLOWED_PACKAGES, "tests")
RECIPE = """
seed_everything: 1
run: {{root: {root}, name: 9_dummy}}
model:
  class_path: tests.dummy_stage.Stage
  init_args:
    optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.1}}}}
data: {{class_path: tests.dummy_stage.Data}}
trainer:
  default_root_dir: ${{run.root}}/${{run.name}}
  accelerator: cpu
  max_steps: 3
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - {{class_path: music_flamingo.callbacks.RollingCheckpoint}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "runs"))
    return path


def run(verb: str, recipe: Path, *words: str) -> None:
    run_verb(verb, ["--config", str(recipe), *words], ALLOWED)


def weight_tested(capsys: pytest.CaptureFixture[str]) -> float:
    """What `test` printed as test/weight."""
    printed = re.search(r"test/weight\W+(\d[\d.]+)", capsys.readouterr().out)
    return float(printed[1]) if printed else float("nan")


def test_fit_leaves_the_recipe_as_written_and_what_it_took(recipe: Path) -> None:
    run("fit", recipe, "--run.name", "again")
    folder = recipe.parent / "runs" / "again"
    saved = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert saved["trainer"]["default_root_dir"] == "${run.root}/${run.name}"
    assert saved["run"]["name"] == "again"
    record = json.loads((folder / "stage.json").read_text())
    assert record.keys() == {"name", "seconds", "peak_rss_mib"}
    assert record["name"] == "again"
    assert record["seconds"] >= 0
    assert record["peak_rss_mib"] > 1


def test_a_run_folder_that_cannot_be_written_is_refused_before_anything_is_built(recipe: Path) -> None:
    (recipe.parent / "runs").write_text("a file where the folder would be")
    with pytest.raises(UserError) as refused:
        run("fit", recipe)
    folder = recipe.parent / "runs"
    assert str(refused.value) == (
        f"trainer.default_root_dir: expected a folder to write into, got {folder}/9_dummy ({folder} is a file): give "
        "another"
    )


def test_the_saved_recipe_trains_again(recipe: Path) -> None:
    run("fit", recipe)
    run("fit", recipe.parent / "runs" / "9_dummy" / "recipe.yaml", "--trainer.max_steps=1")


def test_fit_says_where_its_output_is_and_what_to_run_next(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", recipe, "--trainer.max_steps", "1")
    said = capsys.readouterr().out
    assert re.search(r"9_dummy: fit took \d+ s, output in .*/runs/9_dummy\n", said)
    assert f"next: music-flamingo test --config {recipe} --trainer.max_steps=1 --ckpt_path last" in said
    assert "tensorboard --logdir" in said


def test_no_test_is_suggested_for_a_stage_that_has_none(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("dummy_stage.Stage", "dummy_stage.UntestedStage"))
    run("fit", recipe, "--trainer.max_steps", "1")
    said = capsys.readouterr().out
    assert "tensorboard" in said
    assert "music-flamingo test" not in said


def test_a_fit_that_fails_leaves_no_record_of_an_earlier_one(recipe: Path) -> None:
    run("fit", recipe, "--trainer.max_steps", "1")
    with pytest.raises(ZeroDivisionError):
        run("fit", recipe, "--model", "tests.dummy_stage.FailingStage")
    assert not (recipe.parent / "runs" / "9_dummy" / "stage.json").exists()


def test_the_debug_overlay_makes_any_recipe_two_steps_long(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debug = Path(__file__).parents[1] / "recipes" / "overrides" / "debug.yaml"
    monkeypatch.chdir(recipe.parent)
    run("fit", recipe, "--config", str(debug))
    record = json.loads((recipe.parent / "runs" / "debug" / "stage.json").read_text())
    assert record["name"] == "9_dummy"
    assert not (recipe.parent / "runs" / "9_dummy").exists()


def test_test_scores_the_fitted_weights(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", recipe)
    run("test", recipe, "--ckpt_path", "last")
    # Three steps of w <- w - 0.1 * 2 w from 1.0, without the weight decay of the default optimizer.
    assert weight_tested(capsys) == pytest.approx(0.8**3)


def test_fit_can_test_what_it_trained(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", recipe, "--test")
    assert weight_tested(capsys) == pytest.approx(0.8**3)
    with pytest.raises(UserError, match="--test goes with fit, not with validate"):
        run("validate", recipe, "--test")


def test_a_profiled_fit_leaves_the_run_alone_and_trains_no_further(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fit", recipe)
    folder = recipe.parent / "runs" / "9_dummy"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    run("fit", recipe, "--profile", "--trainer.max_steps=1000")
    said = capsys.readouterr().out
    assert "backward" in said
    assert "fit took" not in said
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    left = {str(path.relative_to(folder)) for path in after.keys() - before.keys()}
    assert left == {f"profile/{name}" for name in ("trace.json", "operations.txt", "recipe.yaml")}


def test_a_profile_goes_with_fit_alone(recipe: Path) -> None:
    with pytest.raises(UserError, match="--profile goes with fit, not with test: leave it out"):
        run("test", recipe, "--profile")
    with pytest.raises(UserError, match="--profile ends before there is a model to test: leave out --test"):
        run("fit", recipe, "--profile", "--test")


def test_a_checkpoint_does_not_change_the_settings(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", recipe)
    checkpoint = recipe.parent / "runs" / "9_dummy" / "checkpoints" / "step-00000003.ckpt"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run("fit", recipe, f"--ckpt_path={checkpoint}", "--model.start", "4.0", "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["start"] == 4.0


def test_print_config_shows_every_setting_and_runs_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit", recipe, "--model.optimizer.lr", "1e-3", "--print_config")
    shown = yaml.safe_load(capsys.readouterr().out)
    assert stopped.value.code == 0
    assert shown["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 1e-3
    assert shown["trainer"]["max_epochs"] is None
    assert shown["weights_only"] is True
    assert not (recipe.parent / "runs").exists()


def test_help_lists_trainer_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_verb("fit", ["--help"])
    assert stopped.value.code == 0
    assert "--trainer.max_steps" in capsys.readouterr().out


def test_help_on_a_class_lists_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_verb("fit", ["--model.help", "tests.dummy_stage.Stage"])
    assert stopped.value.code == 0
    assert "--model.start START" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--trainer.max_stepz=5"],
            r"command line: unknown key trainer.max_stepz: .*did you mean trainer.max_steps\?",
        ),
        (
            ["--tainer.max_steps=5"],
            r"command line: unknown key tainer: `fit` has no .*did you mean trainer\?",
        ),
        (["--trainer.max_steps=many"], "command line: trainer.max_steps: expected int, got 'many'"),
        (
            ["--model.optimizer.lr=low"],
            "command line: model.init_args.optimizer.init_args.lr: expected float, got 'low'",
        ),
        (
            ["--trainer.callbacks.0.every_steps=q"],
            "command line: trainer.callbacks.0.init_args.every_steps: expected int, got 'q'",
        ),
        (["--trainer=3"], "trainer: expected settings such as max_steps, got 3"),
        (["--trainer.strategy=ddq"], "trainer: You selected an invalid strategy name"),
        (
            ["--trainer.default_root_dir=null"],
            "command line: trainer.default_root_dir is missing: name the folder",
        ),
        (["--model=torch.nn.Linear"], "command line: model: expected subclass of LightningModule"),
        (["--data=os.system"], "data.class_path: os.system: a recipe may only name"),
        (["--ckpt_path=nowhere.ckpt"], "--ckpt_path nowhere.ckpt: there is no such file"),
        (
            ["--trainer.overfit_batches=0.5", "--trainer.fast_dev_run=true", "--trainer.min_epochs=x"],
            "min_epochs",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_said_in_one_line(recipe: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run("fit", recipe, *words)
    assert "\n" not in str(caught.value)
    assert not (recipe.parent / "runs").exists()


def test_a_setting_of_another_training_stage_is_refused(recipe: Path) -> None:
    overlay = recipe.with_name("overlay.yaml")
    overlay.write_text("model: {init_args: {num_generations: 5}}")
    with pytest.raises(UserError, match=r"overlay.yaml: unknown key model.init_args.num_generations: Stage has no"):
        run("fit", recipe, "--config", str(overlay))


def test_the_recipe_of_another_training_stage_is_refused(recipe: Path) -> None:
    other = recipe.with_name("other.yaml")
    other.write_text("model: {class_path: tests.dummy_stage.OtherStage}")
    with pytest.raises(UserError, match="give the recipe of one training stage"):
        run("fit", recipe, "--config", str(other))


def test_the_complaint_of_a_class_is_passed_on_word_for_word(recipe: Path) -> None:
    with pytest.raises(UserError, match=r"^start: expected a number below 1, got 2.0$"):
        run("fit", recipe, "--model=tests.dummy_stage.PickyStage", "--model.start=2.0")


def test_nothing_to_train_is_said() -> None:
    with pytest.raises(UserError, match="nothing to fit: no recipe names a model; give one, for example --config"):
        run_verb("fit", [])


def test_a_lightning_complaint_about_the_model_is_passed_on(recipe: Path) -> None:
    with pytest.raises(UserError, match="predict"):
        run("predict", recipe)


def test_last_checkpoint_that_is_not_there_is_an_error_outside_fit(recipe: Path) -> None:
    with pytest.raises(UserError, match="--ckpt_path last: .*9_dummy has no checkpoint yet: fit it before `test`"):
        run("test", recipe, "--ckpt_path", "last")


def test_fit_resumes_from_the_last_checkpoint_or_starts(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", recipe, "--ckpt_path", "last")
    run("fit", recipe, "--ckpt_path", "last", "--trainer.max_steps", "5")
    assert "going on from" in capsys.readouterr().out
    run("test", recipe, "--ckpt_path", "last")
    assert weight_tested(capsys) == pytest.approx(0.8**5)


def interrupted(recipe: Path) -> Path:
    """A run's folder as it is after its process was killed in its third step."""
    run("fit", recipe, "--trainer.callbacks.0.every_steps=1")
    folder = recipe.parent / "runs" / "9_dummy"
    (folder / "stage.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-00000003.ckpt")
    return folder


def test_an_interrupted_fit_goes_on_and_a_finished_one_begins_anew(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(recipe)
    capsys.readouterr()
    run("fit", recipe)
    assert f"9_dummy: going on from {folder}/checkpoints/step-00000002.ckpt\n" in capsys.readouterr().out
    (folder / "ledger").mkdir()
    run("fit", recipe, "--trainer.max_steps=2")
    assert "going on" not in capsys.readouterr().out
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000002.ckpt"]
    assert not (folder / "ledger").exists()


def test_fresh_begins_anew(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = interrupted(recipe)
    capsys.readouterr()
    run("fit", recipe, "--fresh")
    assert "going on" not in capsys.readouterr().out
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000003.ckpt"]
    with pytest.raises(UserError, match="--fresh begins without a checkpoint: leave out --ckpt_path"):
        run("fit", recipe, "--fresh", "--ckpt_path=last")
    with pytest.raises(UserError, match="--fresh goes with fit, not with test"):
        run("test", recipe, "--fresh")


def test_an_interrupted_fit_of_another_recipe_is_not_continued(recipe: Path) -> None:
    interrupted(recipe)
    with pytest.raises(
        UserError, match=r"an interrupted fit whose model.*lr is 0.1, got 0.2: .* --fresh to begin anew"
    ):
        run("fit", recipe, "--model.optimizer.lr=0.2")
    run("fit", recipe, "--trainer.max_steps=4")


def test_a_damaged_checkpoint_is_passed_by_with_one_warning(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = interrupted(recipe)
    whole = folder / "checkpoints" / "step-00000002.ckpt"
    damaged = whole.with_name("step-00000003.ckpt")
    weights = shutil.copytree(whole, damaged) / "rank-00000.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"03.ckpt/rank-0.*: damaged, going on from .*step-00000002.ckpt") as warned:
        run("fit", recipe)
    assert sum("damaged" in str(each.message) for each in warned) == 1
    (damaged / "manifest.json").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"step-00000003.ckpt: expected a whole checkpoint, got one whose manifest"):
        run("test", recipe, f"--ckpt_path={damaged}")


def test_writing_leaves_no_partial_file(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "stage.json", "{}\n")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["stage.json"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's own account of memory")
def test_peak_memory_is_what_linux_accounts_for() -> None:
    status = Path("/proc/self/status").read_text()
    high_water_kib = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
    assert peak_rss_mib() == pytest.approx(high_water_kib / 1024, rel=0.05)
