"""Optimizer and learning-rate schedule shared by the training stages."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from lightning import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from transformers import get_cosine_schedule_with_warmup

from music_flamingo.errors import UserError

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


def cosine_schedule(
    module: nn.Module, optimizer: OptimizerCallable, warmup_ratio: float, total_steps: int
) -> OptimizerLRScheduler:
    """The optimizer over the trainable parameters and its learning rate.

    The rate rises over `warmup_ratio` of the steps, then follows a cosine to 0.

    Source: Music Flamingo (arXiv:2511.10289), table 3.
    """
    built = optimizer([p for p in module.parameters() if p.requires_grad])
    schedule = get_cosine_schedule_with_warmup(built, round(warmup_ratio * total_steps), total_steps)
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def num_training_steps(trainer: Trainer) -> int:
    """Optimizer steps after which the learning rate is 0.

    Raises:
        UserError: the recipe does not say.
    """
    steps = trainer.estimated_stepping_batches
    if not 0 < steps < math.inf:
        raise UserError(
            "trainer.max_steps: expected the number of optimizer steps, got none: songs are packed into rows as they "
            "are drawn, so an epoch has no number of steps to end the learning rate by; set trainer.max_steps"
        )
    return int(steps)
