"""Leaves a directory that transformers loads."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.run_card import trained_card
from music_flamingo.strategies.dividing import DividingStrategy


class HFExport(Callback):
    """At the end of a fit, writes weights, configuration, processor and model card to `export/` below the run's folder.

    Adapters are merged into the weights, which are written as they train: in float32, so that the next stage starts
    from what this one reached. `from_pretrained(directory, dtype=torch.bfloat16)` loads half the size. The card carries
    the licence of the start weights over; `music-flamingo export` writes one with what corpora hold, and scores.

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
            run = Path(trainer.default_root_dir)
            stage = type(pl_module).__name__
            card = trained_card(run, model, stage, trainer.global_step, "export", counted=False)
            replace_hf_directory(run / "export", model, self.processor, state, card)
