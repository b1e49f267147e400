"""Randomness that depends on the row being trained on, not on what happened before."""

import hashlib
import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from music_flamingo.strategies.row_ranks import row_rank


class StepSeeds(Callback):
    """Seeds torch, numpy and Python anew before every training row, from the run's seed, the row's number and the rank.

    A resumed run then draws what the uninterrupted one drew, whatever validation, logging or loading drew in between.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed = row_seed(self.seed, batch, trainer)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  what libraries draw from
        random.seed(seed)


def row_seed(seed: int, batch: Any, trainer: Trainer) -> int:
    """Below 2**63; other for each run, training row (or step, where rows do not know their number) and rank.

    Ranks that share a row have the same.
    """
    origin = getattr(batch, "origin", None)
    row = trainer.global_step if origin is None else origin.state.rows
    digest = hashlib.sha256(f"{seed} {row} {row_rank(trainer).number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
