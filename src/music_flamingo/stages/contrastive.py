"""Contrastive training of AF-CLAP: a clip lies near what is true of it, and away from what is false.

Input   `music_flamingo.batch.PackedBatch` of songs
Trains  both towers of AF-CLAP, their projections and the temperature, but for what `freeze` names
Logs    train/loss, train/found, train/told_apart, train/temperature, val/loss, val/found, val/told_apart
Source  Audio Flamingo 2 (arXiv:2503.03983), section 3.1
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.data_modules import Captions
from music_flamingo.evaluation.retrieval import found_share, told_apart_share
from music_flamingo.logged_steps import is_logged_step
from music_flamingo.losses import compositional_contrastive_loss, gathered_captions
from music_flamingo.models import AFClap
from music_flamingo.stages.optimization import CosineSchedule, OptimizerCallable, Schedule
from music_flamingo.stages.training_stage import TrainingStage
from music_flamingo.step_parts import part


class ContrastiveModule(TrainingStage):
    """Tells the captions of a clip from those of all other clips of a step, and from false ones of its own.

    In training the captions of all ranks are gathered, however many songs each has. `found` is the share of clips to
    which one of their own captions is nearest among those compared, `told_apart` the share of captions that are nearer
    than all of their negatives.

    Args:
        model: an AF-CLAP.
        optimizer: called with the trainable parameters.
        captions: what is true and false of a song.
        schedule: of the learning rate.
        freeze: regular expressions over parameter names; those parameters stay as they are.
    """

    model: AFClap

    def __init__(
        self,
        model: AFClap,
        optimizer: OptimizerCallable,
        captions: Captions,
        schedule: Schedule = CosineSchedule(),  # noqa: B008  holds one number
        freeze: Sequence[str] = (),
    ) -> None:
        super().__init__(model, optimizer, schedule, freeze)
        self.captions = captions

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        audio, positives, negatives = self._embeddings(batch)
        songs = len(audio)
        if batch.idle:  # the same songs are another rank's, but the gathering waits for this one
            audio, positives, negatives = audio[:0], positives[:0], negatives[:0]
        with part("head and loss"):
            everyone, offset, num_clips = gathered_captions(
                positives, partial(self.all_gather, sync_grads=True), self.global_rank
            )
            loss = self._loss(audio, everyone, negatives, offset, num_clips)
        self.log("train/loss", loss.detach(), batch_size=songs, prog_bar=True, sync_dist=True)
        if is_logged_step(self.trainer) and len(audio):
            self._log_shares("train", audio, everyone, negatives, offset)
            self.log("train/temperature", self.model.temperature.detach(), batch_size=1)
        return loss

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        audio, positives, negatives = self._embeddings(batch)
        self.log("val/loss", self._loss(audio, positives, negatives), batch_size=len(audio), sync_dist=True)
        self._log_shares("val", audio, positives, negatives)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.model.network.limit_temperature()

    def _embeddings(self, batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors (B, D) of the row's songs, (B, P, D) of their captions, and (B, P, N, D) of the false ones."""
        songs = [self.captions(batch.examples[root]) for root in batch.tree.roots()]
        true = [caption.text for captions in songs for caption in captions]
        false = [text for captions in songs for caption in captions for text in caption.negatives]
        texts = self.model.embed_texts([*true, *false])
        shape = (len(songs), self.captions.num_positives)
        positives = texts[: len(true)].unflatten(0, shape)
        negatives = texts[len(true) :].reshape(*shape, self.captions.num_negatives, texts.shape[-1])
        return self.model.embed_songs(batch), positives, negatives

    def _loss(
        self, audio: Tensor, positives: Tensor, negatives: Tensor, offset: int = 0, num_clips: float | None = None
    ) -> Tensor:
        temperature = self.model.temperature
        return compositional_contrastive_loss(audio, positives, negatives, temperature, offset, num_clips)

    def _log_shares(self, split: str, audio: Tensor, positives: Tensor, negatives: Tensor, offset: int = 0) -> None:
        shares = {f"{split}/found": found_share(audio, positives, offset)}
        if self.captions.num_negatives:
            own = positives[offset : offset + len(audio)]
            shares[f"{split}/told_apart"] = told_apart_share(audio, own, negatives)
        self.log_dict(shares, batch_size=len(audio), sync_dist=split == "val")
