"""What every stage shares: what stays frozen, which mode the weights train in, and the optimizer."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from lightning import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from music_flamingo.errors import UserError
from music_flamingo.models import evaluate_frozen_modules, freeze_parameters
from music_flamingo.models.precision_guard import require_float32
from music_flamingo.stages.optimization import OptimizerCallable, Schedule, configured_optimizer, num_training_steps
from music_flamingo.strategies.dividing import DividingStrategy

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
        self._loaded_step = 0
        freeze_parameters(self.model.network, freeze)

    def setup(self, stage: str) -> None:
        precision = self.trainer.precision
        if precision not in PRECISIONS:
            raise UserError(
                f"trainer.precision: expected {' or '.join(PRECISIONS)}, got {precision}: use bf16-mixed, "
                "which keeps weights and optimizer in float32"
            )

    def configure_model(self) -> None:
        """Divide the model over the ranks, where the strategy does; called before the optimizer is made."""
        if isinstance(self.trainer.strategy, DividingStrategy):
            self.trainer.strategy.divide(self.model)

    def whole_weights(self) -> AbstractContextManager[None]:
        """Puts a divided model together on every rank, for passes that ranks make unequally often."""
        strategy = self.trainer.strategy
        return strategy.whole_weights() if isinstance(strategy, DividingStrategy) else nullcontext()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        evaluate_frozen_modules(self.model)
        return self

    def on_fit_start(self) -> None:
        require_float32(self, f"trainer.strategy {type(self.trainer.strategy).__name__}")
        # Weights are loaded in evaluation mode, and Lightning leaves it at that.
        self.train()

    @property
    def weights_step(self) -> int:
        """Optimizer steps that the weights have behind them, in this stage."""
        return self.trainer.global_step or self._loaded_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model before any of it is loaded.

        Raises:
            UserError: names of weights differ, or a fit is to go on from weights alone.
        """
        require_same_weights(self.trainer.ckpt_path, checkpoint["state_dict"], self.state_dict())
        if self.trainer.state.fn == TrainerFn.FITTING and "optimizer_states" not in checkpoint:
            raise UserError(
                f"{self.trainer.ckpt_path}: expected a checkpoint to go on from, got weights without optimizer: "
                "`music-flamingo export` it, and start another fit with run.start"
            )
        self._loaded_step = int(checkpoint["global_step"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return configured_optimizer(self, self.optimizer, self.schedule, num_training_steps(self.trainer))


def require_same_weights(checkpoint: object, given: Collection[str], own: Collection[str]) -> None:
    """Raise a UserError that names a weight unless a checkpoint has those of a model and no others.

    Args:
        checkpoint: its path.
        given: names of its weights, as a stage names them.
        own: names of the model's.
    """
    differing = sorted(set(given) ^ set(own))
    if differing:
        has = "has none" if differing[0] in own else "has"
        raise UserError(
            f"{checkpoint}: expected a checkpoint of this model, got one that {has} "
            f"{differing[0].removeprefix('model.network.')} ({len(differing)} weights differ): give the recipe of "
            "the run that wrote it"
        )
