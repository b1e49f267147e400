"""The command, on recipes as they are and on the sizes of the published model."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.cli import main
from music_flamingo.planning.devices import ACCELERATORS, parse_devices
from music_flamingo.planning.plan import remedies_for
from tests.builders import model_directory, preset_directory, write_corpus

ROOT = Path(__file__).parents[2]
SFT, GRPO = (ROOT / "recipes" / "songbook" / name for name in ("2_sft.yaml", "4_grpo.yaml"))
LORA = ROOT / "recipes" / "overrides" / "lora.yaml"
TINY = ["--config", str(SFT), f"--run.start={model_directory()}"]
PUBLISHED = 8_270_025_216
MIXED = ["--trainer.precision=bf16-mixed", "--data.max_tokens=8000", "--data.max_song_seconds=240"]


def planned(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object, status: int = 0) -> dict[str, Any]:
    """The plan's record."""
    file = tmp_path / "plan.json"
    assert main(["plan", *map(str, words), f"--json={file}"]) == status
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def test_a_tiny_model_fits_on_a_cpu_and_is_told_in_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *TINY, "--devices", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 30
    assert "musicflamingo, 0.6 million parameters" in shown
    assert "step                  1 rows" in shown
    assert shown.splitlines()[-1] == "fits                  yes"


def test_the_published_model_does_not_fit_on_one_device_and_the_override_that_helps_is_named(
    full_size: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--config", SFT, f"--run.start={full_size}", *MIXED, "--devices", "H200"]
    record = planned(capsys, tmp_path, *words, status=1)
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "fits                  no"
    assert told.err.startswith("error: does not fit: ")
    assert len(told.err.splitlines()) == 1
    assert record["fits_with"] == [["--model.model.recompute_layers_above=0"], [str(LORA)]]
    assert f"fits with --model.model.recompute_layers_above=0, or --config {LORA}" in told.err
    with_lora = planned(capsys, tmp_path, *words, "--config", LORA)
    assert with_lora["fits"]
    assert round(with_lora["parameters"]["trained"] / 1e6, 1) == 161.5  # as docs/models.md says, and its test
    assert record["parameters"]["trained"] + record["parameters"]["frozen"] == PUBLISHED


def test_full_training_holds_sixteen_bytes_of_each_trained_number(
    full_size: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--config", SFT, f"--run.start={full_size}", *MIXED, "--devices", "H200"]
    record = planned(capsys, tmp_path, *words, status=1)
    parts, trained = record["memory"]["parts"], record["parameters"]["trained"]
    assert parts["weights"] == 4 * (trained + record["parameters"]["frozen"])
    assert parts["optimizer"] == 8 * trained
    assert record["memory"]["peak"] == sum(parts.values())


def test_grpo_keeps_a_reference_and_is_told_what_its_rollouts_take(
    full_size: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--config", GRPO, f"--run.start={full_size}", *MIXED, "--devices", "8xH200"]
    with_reference = planned(capsys, tmp_path, *words, status=1)
    without = planned(capsys, tmp_path, *words, "--model.beta=0.0", status=1)
    assert {"prefill", "decoding"} <= with_reference["memory"]["moments"].keys()
    reference = with_reference["memory"]["parts"]["weights"] - without["memory"]["parts"]["weights"]
    assert reference == 4 * PUBLISHED
    assert without["step"]["flops_per_row"] < with_reference["step"]["flops_per_row"]


def test_more_devices_and_accumulation_make_a_larger_step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one = planned(capsys, tmp_path, *TINY, "--devices", "cpu")
    eight = planned(capsys, tmp_path, *TINY, "--trainer.accumulate_grad_batches=4", "--devices", "2xcpu")
    assert eight["step"]["rows"] == 8 * one["step"]["rows"]
    assert eight["step"]["tokens"] == 8 * one["step"]["tokens"]
    assert eight["step"]["seconds"] == pytest.approx(4 * one["step"]["seconds"])


def test_no_row_is_planned_that_holds_more_than_the_recipe_lets_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*TINY, "--data.max_tokens=2000", "--data.max_song_seconds=600", "--devices", "cpu"]
    record = planned(capsys, tmp_path, *words)
    assert 1900 < record["fullest_row"]["tokens"] <= 2000


def test_an_epoch_is_as_long_as_the_corpus_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    record = planned(capsys, tmp_path, *TINY, f"--data.corpus={corpus}", "--data.max_duration=20", "--devices", "cpu")
    lines = [json.loads(line) for line in _lines(corpus)]
    assert record["epoch"]["songs"] == len(lines)
    assert record["epoch"]["song_seconds"] == pytest.approx(sum(line["duration"] for line in lines) / len(lines))
    assert record["epoch"]["steps"] == pytest.approx(len(lines) / record["row"]["songs"])


def _lines(corpus: Path) -> list[str]:
    return gzip.decompress((corpus / "cuts_train.jsonl.gz").read_bytes()).decode().splitlines()


def test_a_relative_is_told_without_activations(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = ROOT / "recipes" / "tinymu" / "sft.yaml"
    start = f"--run.start={preset_directory('tinymu-tiny')}"
    record = planned(capsys, tmp_path, "--config", recipe, start, "--devices", "cpu")
    assert record["memory"]["moment"] == "before any row, as this kind's activations are not counted"
    assert record["step"]["flops_per_row"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", str(SFT)], "arguments are required: devices"),
        ([*TINY, "--devices", "8xB300"], "known: A100-80GB"),
        ([*TINY, "--devices", "cpu", "--song-seconds", "long"], "long"),
        ([*TINY, "--devices", "cpu", "--questions=0"], "--questions: expected a number above 0"),
        ([*TINY, "--devices", "cpu", "--model.frezee=[]"], "did you mean"),
        (["--config", str(SFT), "--run.start=nowhere", "--devices", "cpu"], "got nowhere: make or download it"),
        ([*TINY, "--devices", "cpu", "--trainer.strategy=fsdp"], "expected one whose memory is known"),
        (
            ["--config", str(ROOT / "recipes/songbook/1_tagging.yaml"), "--devices", "cpu"],
            "expected a stage whose memory is known",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_smallest_sets_of_overrides_are_tried_first_and_never_two_strategies(tmp_path: Path) -> None:
    folder = tmp_path / "recipes" / "overrides"
    folder.mkdir(parents=True)
    for name in ("fsdp", "deepspeed_zero3", "lora"):
        (folder / f"{name}.yaml").touch()
    config = [tmp_path / "recipes" / "songbook" / "2_sft.yaml"]
    sets = [[Path(each).stem for each in chosen] for chosen in remedies_for(config, parse_devices("8xH200"))]
    assert [len(each) for each in sets] == sorted(len(each) for each in sets)
    assert sets[1:4] == [["lora"], ["fsdp"], ["deepspeed_zero3"]]
    assert not any({"fsdp", "deepspeed_zero3"} <= set(each) for each in sets)
    alone = [Path(each).stem for chosen in remedies_for(config, parse_devices("H200")) for each in chosen]
    assert not {"fsdp", "deepspeed_zero3"} & set(alone)


def test_help_says_which_devices_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--help"])
    assert stopped.value.code == 0
    assert ", ".join([*ACCELERATORS, "cpu"]) in " ".join(capsys.readouterr().out.split())
