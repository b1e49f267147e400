"""Gives a stage that samples its engine and its source of randomness."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from music_flamingo.callbacks.step_seeds import row_seed
from music_flamingo.rollout import RolloutEngine, SharedEngine
from music_flamingo.stages.answering import AnsweringModule
from music_flamingo.strategies.row_ranks import row_rank


class GRPOSampling(Callback):
    """Owns the rollout engine, and seeds its sampling anew for every training row and every validation.

    What a row's rollout draws depends on the seed, the row's number and the rank alone, so that a resumed run samples
    what the uninterrupted one sampled.

    Logs sampling/completions, those drawn so far on all ranks.

    Args:
        engine: draws completions; None for the shared engine.
        seed: of the sampling.
    """

    def __init__(self, engine: RolloutEngine | None = None, seed: int = 0) -> None:
        self.engine = engine or SharedEngine()
        self.seed = seed
        self.completions = 0
        self._generator: torch.Generator | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, AnsweringModule):
            raise TypeError(f"GRPOSampling serves stages that sample, not {type(pl_module).__name__}")
        self._generator = torch.Generator(pl_module.device)
        pl_module.engine = self.engine
        pl_module.generator = self._generator

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._generator is not None:
            self._generator.manual_seed(row_seed(self.seed, batch, trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._generator is not None:
            self._generator.manual_seed(self.seed + row_rank(trainer).number)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        sampling = getattr(pl_module, "sampling", None)
        drawn = len(batch.prompts()) * (sampling.num_generations if sampling and row_rank(trainer).is_first else 0)
        self.completions += int(trainer.strategy.reduce(torch.tensor(drawn, device=pl_module.device), reduce_op="sum"))
        pl_module.log("sampling/completions", float(self.completions), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"completions": self.completions}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.completions = int(state_dict["completions"])
