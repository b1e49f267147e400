"""Can a verb run this recipe? It has a model, an output folder and its checkpoint, and every key is known."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from music_flamingo.errors import UserError
from music_flamingo.recipe import BLOCKS_FOR_REFERENCE, Recipe
from music_flamingo.recipe_keys import KeyCheck, settings_of

VERB_SETTINGS = ("ckpt_path", "weights_only", "verbose", "return_predictions")
CHECKPOINT_WORDS = ("last", "best", "hpc", "registry")


def check_recipe(recipe: Recipe, verb: str, allowed: Sequence[str]) -> None:
    """Refuse a recipe without a model or an output folder, an unknown key, a checkpoint that is not there.

    Raises:
        UserError: with the file and key.
    """
    settings = recipe.settings()
    example = "--config recipes/songbook/2_sft.yaml"
    if "model" not in settings:
        raise UserError(f"nothing to {verb}: no recipe names a model; give one, for example {example}")
    known = _known_blocks(verb)
    check = KeyCheck(recipe, allowed)
    check.keys({key: value for key, value in settings.items() if key != "trainer"}, (), known, f"`{verb}`")
    trainer = settings.get("trainer") or {}
    if not isinstance(trainer, dict):
        raise UserError(f"{recipe.origin(('trainer',))}: trainer: expected settings such as max_steps, got {trainer!r}")
    check.keys(trainer, ("trainer",), settings_of(Trainer), "the trainer")
    if verb == "fit" and not trainer.get("default_root_dir"):
        origin = recipe.origin(("trainer", "default_root_dir"))
        raise UserError(f"{origin}: trainer.default_root_dir is missing: name the folder that takes the run's output")
    _refuse_missing_checkpoint(settings.get("ckpt_path"))


def _known_blocks(verb: str) -> dict[str, object]:
    """The top level of a recipe: Lightning's blocks, what the verb takes, and what is only referred to."""
    named = {name: Any for name in ("seed_everything", "trainer", *BLOCKS_FOR_REFERENCE)}
    taken = {name: Any for name in inspect.signature(getattr(Trainer, verb)).parameters if name in VERB_SETTINGS}
    return {**named, "model": LightningModule, "data": LightningDataModule, **taken}


def _refuse_missing_checkpoint(path: object) -> None:
    if isinstance(path, str) and path not in CHECKPOINT_WORDS and "://" not in path and not Path(path).exists():
        raise UserError(f"--ckpt_path {path}: there is no such file; give a checkpoint, or `last` for the newest one")
