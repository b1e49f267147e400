"""Supervised fine-tuning: learn to answer about the song, loss on the answer only.

Input   `music_flamingo.batch.PackedBatch`: one root per song, one branch per question with its answer
Trains  whatever `freeze` does not name
Logs    train/loss, train/answer_tokens, val/loss
Source  Music Flamingo (arXiv:2511.10289), section 3
"""

from typing import cast

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.stages.answering import AnsweringModule


class SFTModule(AnsweringModule):
    """Next-token cross entropy on answer tokens, averaged over all answer tokens of all ranks."""

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        loss_sum, num_tokens = self._loss(batch)
        # Ranks hold different numbers of answer tokens: divide by the mean count, not by the rank's own.
        counts = cast(Tensor, self.all_gather(num_tokens))
        loss = loss_sum / counts.float().mean()
        self.log_dict({"train/loss": loss.detach(), "train/answer_tokens": num_tokens}, batch_size=1, prog_bar=True)
        return loss

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        loss_sum, num_tokens = self._loss(batch)
        self.log("val/loss", loss_sum / num_tokens, batch_size=int(num_tokens), sync_dist=True)

    def _loss(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Weighted sum of the targets' negative log-probabilities, and the sum of their weights."""
        logprobs, _ = self.model.target_logprobs(batch)
        weights = batch.targets.weights
        return -(logprobs * weights).sum(), torch.clamp(weights.sum(), min=1.0)
