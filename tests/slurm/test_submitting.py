"""What `music-flamingo slurm` writes, submits and refuses."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from music_flamingo.cli import main
from music_flamingo.slurm.job_script import Job, Resources, quoted, script

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("music-flamingo")
RECIPE = """\
run: {root: ROOT, name: first, seed: 0}
seed_everything: ${run.seed}
model: {class_path: music_flamingo.stages.SFTModule}
trainer:
  default_root_dir: ${run.root}/${run.name}
  callbacks:
    - class_path: music_flamingo.callbacks.RollingCheckpoint
      init_args: {every_steps: 5}
"""
EXAMPLE = Job(
    name="2_sft",
    log="%x-%j.log",
    directory=Path(),
    command=[
        ".venv/bin/music-flamingo",
        "fit",
        *("--config", "recipes/songbook/2_sft.yaml"),
        *("--config", "recipes/overrides/ddp.yaml"),
        *("--trainer.num_nodes=2", "--trainer.devices=8"),
        "--trainer.callbacks+=music_flamingo.callbacks.Preemption",
    ],
    tasks=[],
    resources=Resources(
        nodes=2,
        devices_per_node=8,
        cpus_per_device=8,
        time="24:00:00",
        warn_seconds=300,
        gpus=True,
        more=["partition=gpu", "account=my_project"],
    ),
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("ROOT", str(tmp_path / "runs")))
    return path


def slurm(recipe: Path, *words: str, show: bool = True) -> int:
    return main(["slurm", *["--show"] * show, "--devices-per-node", "2", "--config", str(recipe), *words])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_the_template_is_what_the_command_writes() -> None:
    assert script(EXAMPLE) == (ROOT / "recipes" / "slurm" / "train.sbatch").read_text()


def test_the_script_asks_for_what_was_said(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--nodes",
        "3",
        "--time",
        "2-12",
        "--partition=gpu",
        "--account",
        "lab",
        "--sbatch",
        "qos=high",
        "exclusive",
    ]
    assert slurm(recipe, *options, "--data.seed", "7", "--warn-seconds=600") == 0
    path = recipe.parent / "runs" / "first" / "slurm" / "train.sbatch"
    lines = path.read_text().splitlines()
    asked = [line.removeprefix("#SBATCH --").partition(" #")[0].strip() for line in lines if line.startswith("#SBATCH")]
    assert asked == [
        'job-name="first"',
        "nodes=3",
        "ntasks-per-node=2",
        "gpus-per-node=2",
        "cpus-per-task=8",
        "time=2-12",
        "signal=USR1@600",
        "requeue",
        "open-mode=append",
        f'output="{path.parent}/%j.log"',
        "partition=gpu",
        "account=lab",
        "qos=high",
        "exclusive",
    ]
    command = lines[lines.index("command=(") + 1 : lines.index(")")]
    assert [line.strip() for line in command] == [
        f"{PROGRAM} fit",
        f"--config {recipe}",
        "--data.seed=7",
        "--trainer.num_nodes=3",
        "--trainer.devices=2",
        "--trainer.callbacks+=music_flamingo.callbacks.Preemption",
    ]
    assert capsys.readouterr().out == f"{path.read_text()}\n{path}\n"


def test_a_recipe_that_ends_by_itself_and_has_no_gpu_is_left_so(recipe: Path) -> None:
    ending = "--trainer.callbacks+=music_flamingo.callbacks.Preemption"
    assert slurm(recipe, ending, "--trainer.accelerator=cpu", "--test") == 0
    text = (recipe.parent / "runs" / "first" / "slurm" / "train.sbatch").read_text()
    assert text.count("music_flamingo.callbacks.Preemption") == 1
    assert "gpus" not in text
    assert f"    {PROGRAM} fit\n    --test\n" in text


def test_an_array_has_a_run_for_each_variant_and_seed(recipe: Path) -> None:
    for name in ("high.yaml", "low.yaml"):
        (recipe.parent / name).write_text("data: {init_args: {max_duration: 5}}\n")
    high, low = recipe.parent / "high.yaml", recipe.parent / "low.yaml"
    assert slurm(recipe, "--seeds", "0", "1", "--variants", str(high), str(low)) == 0
    lines = (recipe.parent / "runs" / "first" / "slurm" / "train.sbatch").read_text().splitlines()
    assert "#SBATCH --array=0-3                  # one run each" in lines
    assert f'#SBATCH --output="{recipe.parent}/runs/first/slurm/%A_%a.log" # in a folder that exists' in lines
    begin = lines.index("case $SLURM_ARRAY_TASK_ID in")
    assert lines[begin + 1 : begin + 7] == [
        f"    0) command+=(--config {high} --run.seed=0 --run.name=first-high-seed0) ;;",
        f"    1) command+=(--config {high} --run.seed=1 --run.name=first-high-seed1) ;;",
        f"    2) command+=(--config {low} --run.seed=0 --run.name=first-low-seed0) ;;",
        f"    3) command+=(--config {low} --run.seed=1 --run.name=first-low-seed1) ;;",
        "esac",
        'srun --kill-on-bad-exit=1 "${command[@]}"',
    ]


def test_words_reach_the_command_as_they_were_typed(tmp_path: Path) -> None:
    """The script is run, with programs that stand for SLURM's."""
    odd = tmp_path / 'it\'s a "$HOME" 50% `ls`; (é)'
    odd.mkdir()
    (odd / "show").write_text('#!/bin/bash\nprintf \'%s\\n\' "$PWD" "$MASTER_ADDR" "$MASTER_PORT" "${@:2}"\n')
    (odd / "show").chmod(0o755)
    (odd / "srun").symlink_to("show")
    (odd / "scontrol").write_text("#!/bin/bash\nprintf 'node%s\\n' {7..20000}\n")
    (odd / "scontrol").chmod(0o755)
    words = ["fit", "--x=a b", "--y='\"$(false)\\", "--z=*"]
    job = replace(EXAMPLE, directory=odd, command=words, tasks=[["--seed=0"], ["--name=a b"]])
    (odd / "train.sbatch").write_text(script(job))
    slurm = {"SLURM_JOB_ID": "31234", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_CPUS_PER_TASK": "8"}
    environment = os.environ | slurm | {"SLURM_ARRAY_TASK_ID": "1", "PATH": f"{odd}:{os.environ['PATH']}"}
    command = ["bash", str(odd / "train.sbatch")]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(odd), "node7", "16234", *words, "--name=a b"]


def test_a_value_is_quoted_as_sbatch_reads_it() -> None:
    assert quoted("a 'b' \"c\" \\d") == '"a \'b\' \\"c\\" \\\\d"'


def test_a_log_in_a_folder_with_percent_signs_has_them_doubled(recipe: Path) -> None:
    assert slurm(recipe, f"--run.root={recipe.parent}/50%j") == 0
    text = (recipe.parent / "50%j" / "first" / "slurm" / "train.sbatch").read_text()
    assert f'#SBATCH --output="{recipe.parent}/50%%j/first/slurm/%j.log"' in text


def test_the_script_is_submitted_and_a_refusal_is_one_line(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\necho "Submitted batch job 7: $1"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert slurm(recipe, show=False) == 0
    path = tmp_path / "runs" / "first" / "slurm" / "train.sbatch"
    assert capsys.readouterr().out.endswith(f"\n{path}\nSubmitted batch job 7: {path}\n")
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: Requested node\nconfiguration is not available' >&2\nexit 1\n")
    assert slurm(recipe, show=False) == 2
    assert complaint(capsys) == (
        f"error: sbatch {path}: sbatch: error: Requested node configuration is not available\n"
    )


def test_without_slurm_nothing_is_written_and_one_line_says_so(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm(recipe, "--nodes", "2", show=False) == 2
    assert complaint(capsys) == (
        "error: expected SLURM's sbatch on PATH, found none: run this on a cluster's login node\n"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "0"], "--nodes: expected at least 1, got 0"),
        (["--devices-per-node", "-1"], "--devices-per-node: expected at least 1, got -1"),
        (["--nodes", "two"], "expected int, got 'two'"),
        (["--time", "1 day"], "--time: expected hours:minutes:seconds"),
        (["--time", "5:00"], "--warn-seconds: expected more than 0 and less than the 300 seconds of --time 5:00"),
        (["--fresh"], "--fresh: a job that is started again would begin there again"),
        (["--ckpt_path", "a.ckpt"], "--ckpt_path: a job that is started again would begin there again"),
        (["--trainer.devices", "4"], "--trainer.devices: the job has --nodes times --devices-per-node: leave it out"),
        (["--trainer.callbacks", "[]"], "expected RollingCheckpoint among trainer.callbacks, got none, and a job that"),
        (["--trainer.max_stepz", "4"], "did you mean trainer.max_steps?"),
        (["--seeds", "0", "0"], "expected a folder for each run, got"),
        (["--seeds", "1", "2", "--trainer.default_root_dir=x"], "got x twice: let trainer.default_root_dir follow"),
        (["--seeds", "1", "--seed_everything=3"], "expected seed_everything to follow ${run.seed}, got 3"),
        (["--seeds", "1", "--run", "null", "--trainer.default_root_dir=x"], "seed_everything"),
        (["--run.root", "a\\b"], "SLURM takes no backslash"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    words: list[str], message: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slurm(recipe, *words) == 2
    assert message in complaint(capsys)


def test_runs_without_a_name_cannot_be_told_apart(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("name: first, ", "").replace("${run.name}", "first"))
    assert slurm(recipe, "--seeds", "1") == 2
    assert "expected a recipe with run.name" in complaint(capsys)


def test_a_run_folder_that_cannot_be_written_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "runs").write_text("a file")
    assert slurm(recipe) == 2
    assert "train.sbatch: expected to write the job's script, got Not a directory" in complaint(capsys)
