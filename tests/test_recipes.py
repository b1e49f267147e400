"""Every recipe can be read, and every key in it means something."""

import re
import shlex
from pathlib import Path

import pytest

from music_flamingo.invocation import parse_invocation
from music_flamingo.recipe import Override, read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.stages.training_stage import PRECISIONS

ROOT = Path(__file__).parents[1]
RECIPES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*.yaml"))
MAX_LINES = 80


def command_in_header(recipe: str) -> list[str]:
    """The words after `music-flamingo` in the comment a recipe begins with."""
    lines = (ROOT / recipe).read_text().splitlines()
    return next(shlex.split(line)[2:] for line in lines if line.startswith("#   music-flamingo "))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_a_recipe_begins_with_is_understood(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verb, *words = command_in_header(recipe)
    invocation = parse_invocation(words)
    assert Path(recipe) in invocation.configs
    check_recipe(read_recipe(invocation.configs, invocation.overrides), verb, ALLOWED_PACKAGES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_in_two_steps_with_the_debug_overlay(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, *words = command_in_header(recipe)
    files = [*parse_invocation(words).configs, Path("recipes/overrides/debug.yaml")]
    trainer = read_recipe(files, [Override("run.root", "elsewhere")]).settings()["trainer"]
    assert trainer["max_steps"] == 2
    written = [str(value) for value in [trainer["default_root_dir"], *folders(trainer)]]
    assert all(place.startswith("runs/debug") for place in written)


def folders(trainer: dict[str, object]) -> list[object]:
    """Where the logger and the callbacks of a recipe write."""
    blocks = [trainer.get("logger"), *(trainer.get("callbacks") or [])]  # type: ignore[misc]
    settings = [block.get("init_args", {}) for block in blocks if isinstance(block, dict)]
    return [init_args[name] for init_args in settings for name in ("save_dir", "dirpath") if name in init_args]


@pytest.mark.parametrize("file", [*RECIPES, "README.md", "docs/models.md"])
def test_what_is_said_of_precision_is_a_precision_that_stages_take(file: str) -> None:
    said = re.findall(r"\bprecision[=:]\s*([^\s,}]+)", (ROOT / file).read_text())
    assert set(said) <= set(PRECISIONS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_short_enough_to_read(recipe: str) -> None:
    assert len((ROOT / recipe).read_text().splitlines()) <= MAX_LINES
