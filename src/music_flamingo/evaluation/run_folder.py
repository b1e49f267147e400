"""What a training run left behind: one folder per stage, read once, absences noted instead of hidden."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from music_flamingo.errors import UserError
from music_flamingo.evaluation.curves import Curve, read_curves
from music_flamingo.evaluation.prediction import Prediction, read_predictions

EXPECTED_STAGES = ("1_tagging", "2_sft", "3_warmup", "4_grpo", "control")
"""Of a run whose stages are among them."""
# An encoder answers no question, so these stages owe no predictions.
_WITHOUT_PREDICTIONS = ("_tagging", "_contrastive")
_OF_THE_MAIN_LINE = re.compile(r"(\d+)_[a-z]+")
"""A number and a word; `3_warmup_clean` is a variant."""


@dataclass(frozen=True)
class StageFolder:
    """One training stage of a run.

    Args:
        seconds: wall clock of the stage; None when `stage.json` is missing.
        peak_rss_mib: highest resident memory of the process; None when unknown.
        recipe: the stage's `recipe.yaml`, interpolations still unresolved; None when missing.
    """

    name: str
    seconds: float | None = None
    peak_rss_mib: float | None = None
    predictions: list[Prediction] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    recipe: DictConfig | None = None

    def setting(self, key: str) -> Any:
        """A value of the recipe by dotted key, interpolations resolved; None when absent.

        Raises:
            UserError: the key's interpolation cannot be resolved.
        """
        if self.recipe is None:
            return None
        try:
            value = OmegaConf.select(self.recipe, key)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.name}/recipe.yaml: {key} cannot be resolved ({reason}); mend the recipe") from error
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@dataclass(frozen=True)
class RunFolder:
    """A run: its stages in order of their folder names, and what was looked for and not found."""

    folder: Path
    stages: dict[str, StageFolder]
    missing: list[str]

    @property
    def final(self) -> StageFolder | None:
        """The stage the scores are about: the latest of the main line that has predictions."""
        answering = {_number(name): stage for name, stage in self.stages.items() if stage.predictions}
        last = max((number for number in answering if number is not None), default=None)
        return None if last is None else answering[last]

    def predictions(self, name: str) -> list[Prediction]:
        """Predictions of one stage; empty when the stage is absent."""
        return self.stages[name].predictions if name in self.stages else []

    def setting(self, key: str) -> Any:
        """A recipe value from the final stage, else from the first stage that has it."""
        stages = [self.final, *self.stages.values()]
        values = (stage.setting(key) for stage in stages if stage is not None)
        return next((value for value in values if value is not None), None)


def read_run(folder: Path) -> RunFolder:
    """Read every stage folder of a run.

    Raises:
        UserError: the folder does not exist or holds no stage, or one of its files cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; give the folder that `fit` wrote its stages to")
    stages = {path.name: _read_stage(path) for path in sorted(folder.iterdir()) if _is_stage(path)}
    if not stages:
        raise UserError(
            f"{folder}: expected stage folders such as 2_sft/ with stage.json or predictions.jsonl, found "
            "none; train first, or give another folder"
        )
    return RunFolder(folder, stages, _missing(folder, stages))


def _is_stage(path: Path) -> bool:
    parts = ("stage.json", "predictions.jsonl", "tensorboard")
    return path.is_dir() and any((path / part).exists() for part in parts)


def _read_stage(folder: Path) -> StageFolder:
    record = _read_json(folder / "stage.json")
    predictions = folder / "predictions.jsonl"
    return StageFolder(
        name=folder.name,
        seconds=record.get("seconds"),
        peak_rss_mib=record.get("peak_rss_mib"),
        predictions=read_predictions(predictions) if predictions.is_file() else [],
        curves=read_curves(folder / "tensorboard"),
        recipe=read_stage_recipe(folder / "recipe.yaml"),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, {error}; mend or delete the file") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected a JSON object, got {record!r}; mend or delete the file")
    return record


def read_stage_recipe(path: Path) -> DictConfig | None:
    """A stage's recipe, interpolations unresolved; None where there is none.

    Raises:
        UserError: the file is no mapping in YAML.
    """
    if not path.is_file():
        return None
    try:
        recipe = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected a recipe in YAML, {reason}; mend or delete the file") from error
    if not isinstance(recipe, DictConfig):
        raise UserError(f"{path}: expected a mapping of recipe keys, found a list; mend or delete the file")
    return recipe


def _number(name: str) -> int | None:
    """Place of a stage in the main line; None for others."""
    found = _OF_THE_MAIN_LINE.fullmatch(name)
    return int(found[1]) if found else None


def _missing(folder: Path, stages: dict[str, StageFolder]) -> list[str]:
    is_expected = all(name in EXPECTED_STAGES for name in stages if _number(name) is not None)
    absent = [f"stage folder {name}/" for name in EXPECTED_STAGES if is_expected and name not in stages]
    for name, stage in stages.items():
        if not stage.predictions and not name.endswith(_WITHOUT_PREDICTIONS):
            absent.append(f"{name}/predictions.jsonl")
        absent += [f"{name}/{file}" for file in ("stage.json", "recipe.yaml") if not (folder / name / file).is_file()]
        if not stage.curves:
            absent.append(f"training curves in {name}/tensorboard/")
    return absent
