"""Leaves a directory that transformers loads."""

import shutil
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.lora import merged_weights
from music_flamingo.models.music_language_model import MusicLanguageModel


class HFExport(Callback):
    """At the end of a fit, writes weights, configuration and processor to `export/` below the run's folder.

    Adapters are merged into the weights.

    Args:
        processor: Hugging Face directory whose processor is copied beside the weights.
    """

    def __init__(self, processor: str) -> None:
        self.processor = processor

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            export(pl_module.model, self.processor, Path(trainer.default_root_dir) / "export")  # type: ignore[arg-type]


def export(model: MusicLanguageModel, processor: str, directory: Path) -> None:
    """Write `model` and the processor of another directory as one Hugging Face directory, whole or not at all."""
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.network.save_pretrained(partial, state_dict=merged_weights(model.network))
    ConversationFormat.from_directory(processor).processor.save_pretrained(partial)
    if directory.exists():
        shutil.rmtree(directory)
    partial.replace(directory)
