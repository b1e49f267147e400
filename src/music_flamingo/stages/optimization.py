"""Optimizer and learning-rate schedule shared by the training stages."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from transformers import get_cosine_schedule_with_warmup

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
