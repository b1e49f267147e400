"""Leaves a directory that transformers loads."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from transformers import AutoProcessor

from music_flamingo.models import AFClap, MusicLanguageModel
from music_flamingo.models.lora import merged_weights
from music_flamingo.models.model_directory import require_model_directory
from music_flamingo.strategies.dividing import DividingStrategy


class HFExport(Callback):
    """At the end of a fit, writes weights, configuration and processor to `export/` below the run's folder.

    Adapters are merged into the weights, which are written as they train: in float32, so that the next stage starts
    from what this one reached. `from_pretrained(directory, dtype=torch.bfloat16)` loads half the size.

    Args:
        processor: Hugging Face directory whose processor is copied beside the weights.
    """

    def __init__(self, processor: str) -> None:
        self.processor = processor

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        model: Any = pl_module.model
        strategy = trainer.strategy
        state = strategy.whole_state(model.network) if isinstance(strategy, DividingStrategy) else None
        if trainer.is_global_zero:
            export(model, self.processor, Path(trainer.default_root_dir) / "export", state)


def export(
    model: MusicLanguageModel | AFClap, processor: str, directory: Path, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write `model` and the processor of another directory as one Hugging Face directory, whole or not at all.

    Args:
        model: to export.
        processor: the directory with the processor.
        directory: to write.
        state: weights of the model's network, where they are divided over ranks; None takes its own.
    """
    require_model_directory(processor)
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.network.save_pretrained(partial, state_dict=merged_weights(model.network, state))
    AutoProcessor.from_pretrained(processor, local_files_only=True).save_pretrained(partial)
    if directory.exists():
        shutil.rmtree(directory)
    partial.replace(directory)
