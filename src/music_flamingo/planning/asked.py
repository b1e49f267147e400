"""What does a recipe ask for, as far as memory and time depend on it?"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from music_flamingo.data_modules import Blend, ConversationDataModule, Source
from music_flamingo.data_modules.song_packing import RowLimits
from music_flamingo.errors import UserError
from music_flamingo.models import LoRA
from music_flamingo.recipe import Recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.rollout import SamplingParameters
from music_flamingo.stages import GRPOModule, SFTModule

MOMENTS = {"AdamW": 8, "Adam": 8, "NAdam": 8, "RAdam": 8, "SGD": 4, "Adafactor": 0}
"""Bytes that an optimizer of torch keeps of a trained number; of any other, as AdamW."""


@dataclass(frozen=True)
class Asked:
    """Settings of a recipe.

    Attributes:
        start: directory of the model.
        samples: whether completions are sampled and reinforced.
        keeps_reference: whether the model it starts from stays beside the one that is trained.
        freeze: patterns of parameters that stay.
        lora: adapters, if any.
        recompute_above: tokens of a row above which feed-forward networks are computed again.
        recompute_layers_above: tokens of a row above which whole layers are.
        sampling: of the rollouts.
        moments: bytes that the optimizer keeps of a trained number.
        is_fused: whether its step allocates nothing.
        precision: `32-true` or `bf16-mixed`.
        strategy: as it stands in the recipe.
        accumulated: rows of a step on each device.
        max_steps: None where the recipe does not say.
        limits: of a row.
        longest_song: seconds.
        questions: on each song; None for all of them.
        blend: corpora and passes through them in an epoch.
    """

    start: str
    samples: bool
    keeps_reference: bool
    freeze: tuple[str, ...]
    lora: LoRA | None
    recompute_above: int | None
    recompute_layers_above: int | None
    sampling: SamplingParameters
    moments: int
    is_fused: bool
    precision: str
    strategy: str | Mapping[str, Any] | None
    accumulated: int
    max_steps: int | None
    limits: RowLimits
    longest_song: float
    questions: int | None
    blend: Blend | None


def asked_of(recipe: Recipe) -> Asked:
    """Read a recipe as `fit` does.

    Raises:
        UserError: `fit` would refuse it, or nothing is known of its stage or data.
    """
    check_recipe(recipe, "fit", ALLOWED_PACKAGES)
    settings = recipe.settings()
    stage, model = settings["model"], settings["model"]["init_args"]["model"]
    kind = _class(stage)
    if not issubclass(kind, SFTModule | GRPOModule):
        raise UserError(
            f"model.class_path: expected a stage whose memory is known, SFTModule, WarmupModule or GRPOModule, got "
            f"{kind.__name__}"
        )
    given, network = stage["init_args"], model.get("init_args") or {}
    data = _with_defaults(ConversationDataModule, (settings.get("data") or {}).get("init_args") or {})
    trainer = settings.get("trainer") or {}
    optimizer = given.get("optimizer") or {}
    samples = issubclass(kind, GRPOModule)
    max_steps = trainer.get("max_steps")
    return Asked(
        start=str(network["pretrained"]),
        samples=samples,
        keeps_reference=samples and bool(given.get("beta", 0.0)),
        freeze=tuple(given.get("freeze") or ()),
        lora=_lora(network.get("lora")),
        recompute_above=network.get("recompute_above"),
        recompute_layers_above=network.get("recompute_layers_above"),
        sampling=SamplingParameters(**{"num_generations": 5, **(given.get("sampling") or {})}),
        moments=MOMENTS.get(str(optimizer.get("class_path")).rpartition(".")[2], 8),
        is_fused=bool((optimizer.get("init_args") or {}).get("fused", False)),
        precision=str(trainer.get("precision") or "32-true"),
        strategy=trainer.get("strategy"),
        accumulated=int(trainer.get("accumulate_grad_batches") or 1),
        max_steps=None if max_steps in (None, -1) else int(max_steps),
        limits=_limits(data),
        longest_song=float(data["max_song_seconds"]),
        questions=data["questions_per_song"],
        blend=_blend(data.get("corpus")),
    )


def config_of(start: str) -> PreTrainedConfig:
    """The configuration of a model's directory.

    Raises:
        UserError: there is none.
    """
    if not (Path(start) / "config.json").is_file():
        raise UserError(
            f"run.start: expected the directory of a model with its config.json, got {start}: make or download it, or "
            "give another of the same size with --run.start=DIR"
        )
    config: PreTrainedConfig = AutoConfig.from_pretrained(start, local_files_only=True)
    return config


def _limits(data: Mapping[str, Any]) -> RowLimits:
    if data["max_tokens"] is None and data["max_flops"] is None:
        return RowLimits(max_duration=data["max_duration"])
    return RowLimits(data["max_tokens"], data["max_flops"])


def _blend(corpus: Any) -> Blend | None:
    if corpus is None or isinstance(corpus, str):
        return None if corpus is None else Blend([Source(corpus)])
    settings = corpus.get("init_args", corpus)
    sources = [Source(**source.get("init_args", source)) for source in settings["sources"]]
    return Blend(sources, float(settings.get("temperature", 1.0)))


def _lora(block: Mapping[str, Any] | None) -> LoRA | None:
    return None if block is None else LoRA(**block["init_args"])


def _with_defaults(built: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(built).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {**defaults, **settings}


def _class(block: Mapping[str, Any]) -> type:
    module, _, name = str(block["class_path"]).rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found
