"""Optimizer and learning-rate schedule shared by the training stages."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

from lightning import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

from music_flamingo.errors import UserError

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


class Schedule(ABC):
    """How the learning rate goes from step to step."""

    @abstractmethod
    def rates(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """The optimizer's rate in each of `total_steps` steps."""


class CosineSchedule(Schedule):
    """The rate rises, then follows a cosine to 0. Music Flamingo (arXiv:2511.10289), table 3.

    Args:
        warmup_ratio: share of the steps over which it rises.
    """

    def __init__(self, warmup_ratio: float = 0.03) -> None:
        self.warmup_ratio = warmup_ratio

    def rates(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        warmup = round(self.warmup_ratio * total_steps)
        return cast(LRScheduler, get_cosine_schedule_with_warmup(optimizer, warmup, total_steps))


class ConstantSchedule(Schedule):
    """The rate rises, then stays.

    Args:
        warmup_steps: over which it rises.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        self.warmup_steps = warmup_steps

    def rates(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        return cast(LRScheduler, get_constant_schedule_with_warmup(optimizer, self.warmup_steps))


def configured_optimizer(
    module: nn.Module, optimizer: OptimizerCallable, schedule: Schedule, total_steps: int
) -> OptimizerLRScheduler:
    """The optimizer over the trainable parameters, and its learning rate."""
    built = optimizer([p for p in module.parameters() if p.requires_grad])
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule.rates(built, total_steps), "interval": "step"}}


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
