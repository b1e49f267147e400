"""Supervised fine-tuning: learn to answer about the song, loss on the answer only.

Input   `music_flamingo.batch.PackedBatch`: one root per song, one branch per question with its answer
Trains  whatever `freeze` does not name
Logs    train/loss, train/answer_tokens, val/loss
Source  Music Flamingo (arXiv:2511.10289), section 3
"""

from typing import Any

from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.stages.answering import AnsweringModule


class SFTModule(AnsweringModule):
    """Next-token cross entropy on answer tokens, averaged over all answer tokens of all ranks by the rows' weights."""

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        loss_sum, weight = self._loss(batch)
        # Ranks hold answer tokens of different weight: divide by the mean over the ranks, not by the rank's own.
        trainer: Any = self.trainer  # Lightning does not declare the attribute
        loss: Tensor = loss_sum / trainer.strategy.reduce(weight.clone(), reduce_op="mean").clamp(min=1.0)
        values: dict[str, Tensor | float] = {
            "train/loss": loss.detach(),
            "train/answer_tokens": float(len(batch.targets)),
        }
        self.log_dict(values, batch_size=1, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        loss_sum, weight = self._loss(batch)
        weight = weight.clamp(min=1.0)
        self.log("val/loss", loss_sum / weight, batch_size=int(weight), sync_dist=True)

    def _loss(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Weighted sum of the targets' negative log-probabilities, and the sum of their weights."""
        logprobs, _ = self.model.target_logprobs(batch)
        weights = batch.targets.weights * (not batch.idle)
        return -(logprobs * weights).sum(), weights.sum()
