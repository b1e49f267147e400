"""Does a fit begin, or go on? And from which checkpoint?

A run's folder answers. Where it holds checkpoints and no `stage.json`, a fit was interrupted there, and the same
command goes on from the newest checkpoint that is whole. Where it holds `stage.json`, the fit was finished, and another
begins.
"""

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from music_flamingo.checkpoint_folder import damage, newest_first, remove_checkpoint
from music_flamingo.errors import UserError
from music_flamingo.recipe import Recipe, read_recipe
from music_flamingo.recipe_tree import Key, show_key, walk

CHECKPOINTS, BEST, LEDGER, RECORD, RECIPE = "checkpoints", "best", "ledger", "stage.json", "recipe.yaml"
MAY_CHANGE = ("num_workers", "cache_features", "encoder_cache")
"""Settings of model and data that change nothing of what is learned."""


def with_checkpoint(recipe: Recipe, verb: str, *, fresh: bool = False) -> Recipe:
    """The recipe with the path of the checkpoint it is to start from, where there is one.

    Args:
        recipe: its `ckpt_path` may be a path, `last`, or missing.
        verb: fit, validate, test or predict.
        fresh: begin anew, whatever is there.

    Raises:
        UserError: `last` and no checkpoint, except to fit; or an interrupted fit of another recipe.
    """
    settings = recipe.settings()
    asked = settings.get("ckpt_path")
    folder = run_folder(recipe)
    if fresh and asked is not None:
        raise UserError("--fresh begins without a checkpoint: leave out --ckpt_path, or --fresh")
    if asked == "last" or (asked is None and verb == "fit" and not fresh and not (folder / RECORD).is_file()):
        newest = newest_checkpoint(folder / CHECKPOINTS)
        if newest is None and asked == "last" and verb != "fit":
            raise UserError(f"--ckpt_path last: {folder} has no checkpoint yet: fit it before `{verb}`")
        if newest is not None and asked is None:
            _require_same_recipe(folder, recipe)
        checkpoint = None if newest is None else str(newest)
        return replace(recipe, merged={**recipe.merged, "ckpt_path": checkpoint})
    return recipe


def run_folder(recipe: Recipe) -> Path:
    """Where a recipe's run leaves everything."""
    return Path((recipe.settings().get("trainer") or {}).get("default_root_dir") or ".")


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a folder that is whole; a warning names those that are not."""
    damaged: list[str] = []
    for path in newest_first(folder):
        what = damage(path)
        if what is None:
            if damaged:
                warnings.warn(f"{', '.join(damaged)}: damaged, going on from {path}", stacklevel=2)
            return path
        damaged.append(f"{path}/{what}")
    if damaged:
        warnings.warn(f"{', '.join(damaged)}: damaged, and no other checkpoint is there", stacklevel=2)
    return None


def begin_anew(folder: Path) -> None:
    """Take away what an interrupted fit would be resumed from, last of all what says that one was finished."""
    for path in [*newest_first(folder / CHECKPOINTS), *newest_first(folder / BEST)]:
        remove_checkpoint(path)
    for name in (BEST, LEDGER):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / RECORD).unlink(missing_ok=True)


def _require_same_recipe(folder: Path, recipe: Recipe) -> None:
    if not (folder / RECIPE).is_file():
        return
    before = dict(_what_is_learned(read_recipe([folder / RECIPE])))
    now = dict(_what_is_learned(recipe))
    differing = next((key for key in [*now, *before] if before.get(key) != now.get(key)), None)
    if differing is not None:
        raise UserError(
            f"{folder} holds an interrupted fit whose {show_key(differing)} is {before.get(differing)!r}, got "
            f"{now.get(differing)!r}: go on with the recipe {folder / RECIPE}, add --fresh to begin anew, or give "
            "another trainer.default_root_dir"
        )


def _what_is_learned(recipe: Recipe) -> Iterator[tuple[Key, Any]]:
    """Values of a recipe that decide what a model learns."""
    for key, value in walk({name: recipe.settings().get(name) for name in ("model", "data", "seed_everything")}):
        if not isinstance(value, dict | list) and not any(step in MAY_CHANGE for step in key):
            yield key, value
