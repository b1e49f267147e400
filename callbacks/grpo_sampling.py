"""Gives a stage that samples its engine and its source of randomness."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from music_flamingo.rollout import RolloutEngine, SharedEngine
from music_flamingo.stages.answering import AnsweringModule


class GRPOSampling(Callback):
    """Owns the rollout engine; its random state goes into the checkpoint, so that a resumed run samples on.

    Logs sampling/completions, those drawn so far.

    Args:
        engine: draws completions; None for the shared engine.
        seed: of the sampling.
    """

    def __init__(self, engine: RolloutEngine | None = None, seed: int = 0) -> None:
        self.engine = engine or SharedEngine()
        self.seed = seed
        self.completions = 0
        self._generator: torch.Generator | None = None
        self._restored: torch.Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, AnsweringModule):
            raise TypeError(f"GRPOSampling serves stages that sample, not {type(pl_module).__name__}")
        self._generator = torch.Generator(pl_module.device).manual_seed(self.seed + trainer.global_rank)
        if self._restored is not None:
            self._generator.set_state(self._restored)
        pl_module.engine = self.engine
        pl_module.generator = self._generator

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        sampling = getattr(pl_module, "sampling", None)
        self.completions += len(batch.prompts()) * (sampling.num_generations if sampling else 0)
        pl_module.log("sampling/completions", float(self.completions), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        generator = None if self._generator is None else self._generator.get_state()
        return {"completions": self.completions, "generator": generator}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.completions = int(state_dict["completions"])
        self._restored = state_dict["generator"]
