"""Supervised fine-tuning: learn to answer about the song, loss on the answer only.

Input   `music_flamingo.batch.PackedBatch`: one root per song, one branch per question with its answer
Trains  whatever `freeze` does not name
Logs    train/loss, train/answer_tokens, val/loss
Source  Music Flamingo (arXiv:2511.10289), section 3
"""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from music_flamingo.batch import PackedBatch
from music_flamingo.stages.answering import AnsweringModule
from music_flamingo.strategies.dividing import DividingStrategy


class SFTModule(AnsweringModule):
    """Next-token cross entropy on answer tokens, averaged over all answer tokens of an optimizer step by their weights.

    All rows of a step are meant, on all ranks. Under DeepSpeed, which keeps gradients to itself, the rows that a rank
    accumulates count alike, however many answer tokens they hold.
    """

    _weight_of_step: Tensor | None = None

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        loss_sum, weight = self._loss(batch)
        # Ranks hold answer tokens of different weight: divide by the mean over the ranks, not by the rank's own.
        trainer: Any = self.trainer  # Lightning does not declare the attribute
        weight = trainer.strategy.reduce(weight.clone(), reduce_op="mean").clamp(min=1.0)
        loss: Tensor = loss_sum / weight
        values: dict[str, Tensor | float] = {
            "train/loss": loss.detach(),
            "train/answer_tokens": float(len(batch.targets)),
        }
        self.log_dict(values, batch_size=1, prog_bar=True, sync_dist=True)
        if trainer.accumulate_grad_batches == 1 or _keeps_gradients(trainer.strategy):
            return loss
        # How much the step's rows weigh together is known when its last row has come.
        self._weight_of_step = weight if self._weight_of_step is None else self._weight_of_step + weight
        return loss_sum

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the gradients of a sum, which Lightning divided by the number of rows, into those of a mean."""
        if self._weight_of_step is None:
            return
        factor = self.trainer.accumulate_grad_batches / self._weight_of_step
        for weight in self.parameters():
            if weight.grad is not None:
                weight.grad.mul_(factor)
        self._weight_of_step = None

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        loss_sum, weight = self._loss(batch)
        weight = weight.clamp(min=1.0)
        self.log("val/loss", loss_sum / weight, batch_size=int(weight), sync_dist=True)

    def _loss(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Weighted sum of the targets' negative log-probabilities, and the sum of their weights."""
        logprobs, _ = self.model.target_logprobs(batch)
        weights = batch.targets.weights * (not batch.idle)
        return -(logprobs * weights).sum(), weights.sum()


def _keeps_gradients(strategy: Any) -> bool:
    return isinstance(strategy, DividingStrategy) and strategy.keeps_gradients
