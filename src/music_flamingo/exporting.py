"""`music-flamingo export`: a checkpoint as a directory that transformers loads, with processor and model card."""

import json
import shlex
from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from music_flamingo.checkpoint_folder import CheckpointFolder, newest_first
from music_flamingo.errors import UserError
from music_flamingo.hf_directory import fill_hf_directory
from music_flamingo.model_cards.carried_licence import CARD, carried_metadata
from music_flamingo.model_cards.model_card import CardFacts
from music_flamingo.models import AFClap, MusicLanguageModel
from music_flamingo.own_complaints import heard, let_classes_complain
from music_flamingo.parse_errors import one_line
from music_flamingo.recipe import Recipe, read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_defaults import with_own_defaults
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.run_card import trained_card
from music_flamingo.run_resume import CHECKPOINTS, RECIPE, newest_checkpoint
from music_flamingo.stages.training_stage import require_same_weights
from music_flamingo.whole_files import new_folder

STATE, MODEL = "state_dict/", "model."
"""Before the names of weights in a checkpoint, and of those that are the model's in a stage."""


def export_command(checkpoint: Path, *, out: Path, dtype: Literal["float32", "bfloat16"] = "float32") -> None:
    """Make a Hugging Face directory of a checkpoint, with processor and model card.

    Args:
        checkpoint: folder such as RUN/checkpoints/step-00000120.ckpt, or RUN for its newest one.
        out: folder to make.
        dtype: of the weights; float32 is what the next stage starts from, bfloat16 half the size.

    Raises:
        UserError: no whole checkpoint, no recipe of its run, one of another model, or something stands at `out`.
    """
    disable_progress_bar()
    folder = chosen_checkpoint(checkpoint)
    run = folder.absolute().parent.parent
    with new_folder(out) as partial:
        recipe = run_recipe(run)
        weights = CheckpointFolder(folder)
        model = built_model(recipe)
        load_weights(model, weights)
        stage = recipe.settings()["model"]["class_path"].rpartition(".")[2]
        card = trained_card(run, model, stage, step_of(weights), out.absolute().name, counted=True)
        card = replace(card, dtype=dtype)
        rounded = None if dtype == "float32" else getattr(torch, dtype)
        fill_hf_directory(partial, model, processor_of(recipe, model), card=card, dtype=rounded)
    print(summary(model, card, out))


def chosen_checkpoint(path: Path) -> Path:
    """The checkpoint itself, or a run's newest.

    Raises:
        UserError: it is neither.
    """
    held = newest_first(path / CHECKPOINTS)
    if held:
        newest = newest_checkpoint(path / CHECKPOINTS)
        if newest is None:
            raise UserError(f"{path / CHECKPOINTS}: expected a whole checkpoint, got {len(held)} damaged: fit again")
        return newest
    if not any(path.glob("rank-*.safetensors")):
        what = "other files" if path.is_dir() else "a file" if path.exists() else "no such folder"
        raise UserError(
            f"{path}: expected a checkpoint such as RUN/checkpoints/step-00000120.ckpt, or a run's folder with some, "
            f"got {what}: give what `music-flamingo fit` wrote"
        )
    return path


def run_recipe(run: Path) -> Recipe:
    """The recipe of a run, whichever checkpoint its last fit went on from.

    Raises:
        UserError: there is none, or one that names other classes than recipes may.
    """
    path = run / RECIPE
    if not path.is_file():
        raise UserError(
            f"{path}: expected the recipe of the run that wrote the checkpoint, got no such file: a checkpoint belongs "
            "in the folder `checkpoints` of its run"
        )
    recipe = read_recipe([path])
    recipe = replace(recipe, merged={key: value for key, value in recipe.merged.items() if key != "ckpt_path"})
    check_recipe(recipe, "fit", ALLOWED_PACKAGES)
    return recipe


def built_model(recipe: Recipe) -> MusicLanguageModel | AFClap:
    """The model that a recipe's stage trains, with the weights it starts from, and nothing else of the recipe.

    Raises:
        UserError: the recipe names none, or its start weights are not there.
    """
    origin = recipe.sources[0].name
    block = ((recipe.settings()["model"] or {}).get("init_args") or {}).get("model")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments((MusicLanguageModel, AFClap), "model")
    let_classes_complain(parser)
    try:
        with heard():
            settings = parser.parse_object({"model": with_own_defaults(block)})
            return cast(MusicLanguageModel | AFClap, parser.instantiate(settings).model)
    except ArgumentError as error:
        raise UserError(f"{origin}: model.init_args.model: {one_line(str(error))}") from error


@torch.no_grad()
def load_weights(model: MusicLanguageModel | AFClap, checkpoint: CheckpointFolder) -> None:
    """Give a model the weights of a checkpoint, one by one; the optimizer's moments are not read.

    Raises:
        UserError: the checkpoint is of another model.
    """
    names = [name.removeprefix(STATE) for name in checkpoint.tensors if name.startswith(STATE + MODEL)]
    own: Mapping[str, Tensor] = model.state_dict(prefix=MODEL)
    require_same_weights(checkpoint.folder, names, own)
    for name, weight in own.items():
        shape = checkpoint.shape(STATE + name)
        if shape != tuple(weight.shape):
            raise UserError(
                f"{checkpoint.folder}: expected a checkpoint of this model, got one whose "
                f"{name.removeprefix('model.network.')} is {shape}, not {tuple(weight.shape)}: start weights and "
                "recipe have to be those of the run that wrote it"
            )
    for name, weight in own.items():
        weight.copy_(checkpoint.read(STATE + name))


def step_of(checkpoint: CheckpointFolder) -> int:
    """Optimizer steps that a checkpoint has behind it."""
    return int(checkpoint.state(lambda _name: torch.empty(0))["global_step"])


def processor_of(recipe: Recipe, model: MusicLanguageModel | AFClap) -> str:
    """The directory whose processor the recipe exports, or that of the start weights."""
    callbacks: Any = (recipe.settings().get("trainer") or {}).get("callbacks")
    for each in callbacks if isinstance(callbacks, list) else []:
        if isinstance(each, dict) and str(each.get("class_path")).endswith(".HFExport"):
            return str(each["init_args"]["processor"])
    return model.started_from[0]


def summary(model: MusicLanguageModel | AFClap, card: CardFacts, out: Path) -> str:
    """What came out, under which licence, and a command that uses it."""
    size = f"{model.network.num_parameters() / 1e6:,.1f} million parameters"
    licence = carried_metadata(card.starts)
    stated = licence.get("license_name") or licence.get("license") or "none stated"
    name, package = card.model
    load = f"from {package} import {name}; {name}.from_pretrained({json.dumps(str(out))})"
    asked = f'music-flamingo ask --model {shlex.quote(str(out))} SONG "QUESTION"'
    return "\n".join(
        [
            f"{out}: {name} of step {card.step}, {size}, {card.dtype}",
            f"  licence of the start weights ({', '.join(start.directory for start in card.starts)}): {stated}",
            f"  read it before you give it away: {out / CARD}",
            f"  next: {asked if card.answers else f'python -c {shlex.quote(load)}'}",
        ]
    )
