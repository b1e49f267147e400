"""What every stage shares: what stays frozen, which mode the weights train in, and the optimizer."""

from collections.abc import Sequence
from typing import Any, Self

from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from music_flamingo.errors import UserError
from music_flamingo.models import evaluate_frozen_modules, freeze_parameters
from music_flamingo.stages.optimization import OptimizerCallable, Schedule, configured_optimizer, num_training_steps

PRECISIONS = ("32-true", "bf16-mixed")
"""bfloat16 throughout loses small steps of the optimizer, and GRPO clips gradients that float16 has scaled."""


class TrainingStage(LightningModule):
    """A model, of which a stage trains what is not frozen.

    Args:
        model: `network` holds its weights.
        optimizer: called with the trainable parameters. Recipes write it as class_path and init_args.
        schedule: of the learning rate.
        freeze: regular expressions over parameter names; those parameters stay as they are.

    Raises:
        UserError: an expression in `freeze` matches no parameter.
    """

    model: Any

    def __init__(
        self, model: nn.Module, optimizer: OptimizerCallable, schedule: Schedule, freeze: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        freeze_parameters(self.model.network, freeze)

    def setup(self, stage: str) -> None:
        precision = self.trainer.precision
        if precision not in PRECISIONS:
            raise UserError(
                f"trainer.precision: expected {' or '.join(PRECISIONS)}, got {precision}: use bf16-mixed, "
                "which keeps weights and optimizer in float32"
            )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        evaluate_frozen_modules(self.model)
        return self

    def on_fit_start(self) -> None:
        # Weights are loaded in evaluation mode, and Lightning leaves it at that.
        self.train()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return configured_optimizer(self, self.optimizer, self.schedule, num_training_steps(self.trainer))
