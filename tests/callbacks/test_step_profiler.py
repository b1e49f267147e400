"""`music-flamingo fit --profile`, through the command line."""

import json
import re
from pathlib import Path

import pytest

from music_flamingo.callbacks import StepProfiler
from music_flamingo.cli import main
from music_flamingo.errors import UserError
from tests.builders import model_directory, write_corpus

ROOT = Path(__file__).parents[2]
Row = tuple[int, str, float, float | None]
ENCODED = ["load row", "copy row to device", "audio encoder", "time embedding"]
TRAINED = ["projector", "language model", "head and loss", "backward", "optimizer", "other"]


def command(recipe: str, root: Path, *words: str) -> list[str]:
    settings = {
        "run.root": root,
        "run.start": model_directory(),
        "data.corpus": root / "corpus",
        "data.max_duration": 20,
        "trainer.enable_progress_bar": False,
    }
    recipe = str(ROOT / "recipes" / "songbook" / recipe)
    return ["fit", "--profile", "--config", recipe, *(f"--{key}={value}" for key, value in settings.items()), *words]


def printed_rows(output: str) -> list[Row]:
    """Depth, name, seconds and calls of every line of the table."""
    line = re.compile(r"^ ( *)(\w[\w ]*?) +(\d+\.\d{4}) +\d+\.\d% *([\d.]*) *$", re.MULTILINE)
    found = line.findall(output)
    return [(len(indent) // 2, name, float(seconds), float(calls or "nan")) for indent, name, seconds, calls in found]


def names(rows: list[Row], below: str = "") -> list[str]:
    """Outermost parts, or those below one."""
    if not below:
        return [name for depth, name, *_ in rows if depth == 0]
    start = next(place for place, row in enumerate(rows) if row[1] == below)
    inside = []
    for depth, name, *_ in rows[start + 1 :]:
        if depth <= rows[start][0]:
            break
        if depth == rows[start][0] + 1:
            inside.append(name)
    return inside


def test_supervised_steps_are_shown_part_by_part_and_nothing_else_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("2_sft.yaml", tmp_path)) == 0
    output = capsys.readouterr().out
    rows = printed_rows(output)
    assert names(rows) == [*ENCODED, *TRAINED, "step"]
    seconds = {name: spent for _, name, spent, _ in rows}
    assert sum(seconds.values()) == pytest.approx(2 * seconds["step"], abs=1e-3)
    assert {calls for _, name, _, calls in rows if name not in ("load row", "other")} == {1.0}
    assert "the fit ends here, without checkpoint or export" in output
    stage = tmp_path / "2_sft"
    assert [path.name for path in stage.iterdir()] == ["profile"]
    left = {path.name for path in (stage / "profile").iterdir()}
    assert left == {"trace.json", "operations.txt", "recipe.yaml", "tensorboard"}
    assert str(stage / "profile" / "trace.json") in output.replace("\n", "")
    events = json.loads((stage / "profile" / "trace.json").read_text())["traceEvents"]
    assert sum(event["name"] == "part: language model" for event in events) == 1
    assert "aten::mm" in (stage / "profile" / "operations.txt").read_text()


def test_a_step_of_grpo_is_shown_as_rollout_rewards_reference_and_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("4_grpo.yaml", tmp_path, "--model.sampling.max_new_tokens=4")) == 0
    rows = printed_rows(capsys.readouterr().out)
    assert names(rows) == [*ENCODED, "rollout", "rewards", "reference", "update", "other", "step"]
    assert names(rows, "rollout") == ["projector", "prefill", "decode", "other"]
    assert names(rows, "decode") == ["language model", "other"]
    assert names(rows, "reference") == ["projector", "language model", "head and loss", "other"]
    assert names(rows, "update") == TRAINED
    decoded = [calls for depth, name, _, calls in rows if (depth, name) == (2, "language model")]
    assert decoded[-1] == 3  # the prefill gives the first of four tokens


def test_gradients_that_are_accumulated_are_updated_every_other_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("1_tagging.yaml", tmp_path, "--trainer.accumulate_grad_batches=2")) == 0
    rows = printed_rows(capsys.readouterr().out)
    assert names(rows) == [*ENCODED, *TRAINED[:1], *TRAINED[2:], "step"]


def test_a_fit_too_short_to_be_profiled_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    assert main(command("2_sft.yaml", tmp_path, "--trainer.max_steps=4")) == 2
    complaint = "error: a profile takes 10 training steps, but the run ended after 4: raise trainer.max_steps"
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"warmup_steps": 0}, {"steps": 0}])
def test_a_profile_of_no_steps_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="expected at least 1 of warmup_steps and steps"):
        StepProfiler("profile", **wrong)
