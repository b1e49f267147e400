"""Encoder pre-training by supervised tagging: name what a song holds from its audio embeddings alone.

A model of random weights stays at chance on audio for long when only its language model's loss teaches it to listen.
Here each tag has a query that attends over the song's embeddings and a linear classifier; both are thrown away
afterwards.

Input   `music_flamingo.batch.PackedBatch` of songs, with the truth of each in its root's example
Trains  the heads, and what a song's embeddings come from: encoder, and projector or transform
Logs    train/loss, train/accuracy/<tag>, val/loss, val/accuracy/<tag>
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from music_flamingo.batch import IGNORE_INDEX, PackedBatch
from music_flamingo.corpora.cut_fields import truth_of
from music_flamingo.errors import UserError
from music_flamingo.logged_steps import is_logged_step
from music_flamingo.models import MusicLanguageModel
from music_flamingo.stages.optimization import CosineSchedule, OptimizerCallable, Schedule
from music_flamingo.stages.training_stage import TrainingStage
from music_flamingo.step_parts import part


class TaggingHead(nn.Module):
    """A classifier that chooses by attention which of a song's embeddings to look at.

    Args:
        width: of the embeddings.
        num_classes: values of the tag.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1)
        self.classify = nn.Linear(width, num_classes)

    def forward(self, embeddings: Tensor, real: Tensor) -> Tensor:
        """(S, A, D) embeddings of songs, of which those in `real` (S, A) are no padding -> (S, classes) logits."""
        weights = self.query(embeddings)[..., 0].masked_fill(~real, -torch.inf).softmax(-1)  # (S, A)
        logits: Tensor = self.classify((weights[:, None] @ embeddings)[:, 0])
        return logits


def pad_songs(songs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(A, D) embeddings of each of S songs -> (S, A, D), padded to the longest, and (S, A) which of them are real."""
    padded = pad_sequence(list(songs), batch_first=True)
    lengths = torch.tensor([len(song) for song in songs], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]


class TaggingModule(TrainingStage):
    """Cross entropy of all tags of all songs.

    Args:
        model: what its songs' embeddings come from is trained; see `freeze_behind_songs`.
        optimizer: called with the trainable parameters.
        tags: field of the cut's `truth` -> its values, as text.
        schedule: of the learning rate.
    """

    model: MusicLanguageModel

    def __init__(
        self,
        model: MusicLanguageModel,
        optimizer: OptimizerCallable,
        tags: Mapping[str, Sequence[str]],
        schedule: Schedule = CosineSchedule(),  # noqa: B008  holds one number
    ) -> None:
        super().__init__(model, optimizer, schedule)
        self.tags = {name: list(values) for name, values in tags.items()}
        heads = {name: TaggingHead(model.audio_width, len(values)) for name, values in self.tags.items()}
        self.heads = nn.ModuleDict(heads)
        model.freeze_behind_songs()

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        self._loss(batch, "val")

    def _loss(self, batch: PackedBatch, split: str) -> Tensor:
        songs, real = self._embeddings(batch)
        losses = []
        for tag, head in self.heads.items():
            labels = self.labels(batch, tag).to(self.device)
            known = labels != IGNORE_INDEX
            if not known.any():
                continue
            with part("head and loss"):
                logits = head(songs, real)[known]
                losses.append(cross_entropy(logits, labels[known]))
            if split == "val" or is_logged_step(self.trainer):
                hits = (logits.argmax(-1) == labels[known]).float().mean()
                self.log(f"{split}/accuracy/{tag}", hits, batch_size=int(known.sum()), sync_dist=True)
        loss = torch.stack(losses).mean() * (not batch.idle)
        self.log(f"{split}/loss", loss.detach(), batch_size=len(songs), prog_bar=True, sync_dist=True)
        return loss

    def _embeddings(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """(S, A, D') embeddings of all songs, padded to the longest, and (S, A) which of them are real."""
        if batch.audio is None:
            raise UserError("tagging needs audio, but a row holds none: every cut of the corpus must have a recording")
        return pad_songs(self.model.song_embeddings(batch))

    def labels(self, batch: PackedBatch, tag: str) -> Tensor:
        """(songs,) class of each song, `IGNORE_INDEX` where its truth is not known.

        Raises:
            UserError: a cut without truth, or a truth that is none of the tag's values.
        """
        labels = []
        for root in batch.tree.roots():
            example = batch.examples[root]
            truth = truth_of(example["cut"], example["custom"]).get(tag)
            if truth is None:
                labels.append(IGNORE_INDEX)
            elif str(truth) in self.tags[tag]:
                labels.append(self.tags[tag].index(str(truth)))
            else:
                raise UserError(
                    f"cut {example['cut']}: truth.{tag} is {truth!r}, none of model.tags.{tag}: add the value to the "
                    "recipe"
                )
        return torch.tensor(labels)
