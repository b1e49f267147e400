"""Planned peaks, against every allocation of real steps and rollouts on the CPU; benchmarks/memory has more."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.memory.steps import Setting, rollout, training_step
from music_flamingo.models import LoRA
from tests.builders import model_directory

ENCODER_HALF = ("audio_tower.conv", "audio_tower.layers.0")


@pytest.mark.parametrize(
    "change",
    [
        {"windows": 1},
        {"windows": 8},
        {"windows": 2, "questions": 20},
        {"recompute_above": 0},
        {"recompute_above": 10**6},
        {"recompute_layers_above": 0},
        {"recompute_layers_above": 0, "freeze": (), "precision": "bf16-mixed"},
        {"freeze": ()},
        {"freeze": ENCODER_HALF},
        {"freeze": (), "precision": "bf16-mixed", "windows": 2},
        {"lora": LoRA(64, 16, ["_proj$"], 0.05)},
    ],
    ids=lambda change: "-".join(map(str, change)),
)
def test_a_training_step_takes_what_was_planned_within_a_tenth(change: dict[str, object], tmp_path: Path) -> None:
    setting = replace(Setting(model_directory(), windows=4), **change)  # type: ignore[arg-type]
    assert training_step(setting, tmp_path).ratio == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("windows", "questions", "new_tokens"), [(4, 3, 32), (1, 10, 128)])
def test_a_rollout_takes_what_was_planned_within_a_tenth(windows: int, questions: int, new_tokens: int) -> None:
    setting = Setting(model_directory(), windows, questions, answer_tokens=new_tokens)
    assert rollout(setting).ratio == pytest.approx(1.0, abs=0.1)
