"""How many FLOPs does a row cost? Counted from its layout and the model's configuration, before anything is computed.

Only products of matrices and convolutions count, a multiplication with its addition as two; all else is small beside
them. What a row asks for is told alike for every kind of model; each kind has a `CostModel` that knows its layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch


@dataclass(frozen=True)
class Workload:
    """What the cost of a row depends on. Songs see nothing of each other, so a row is the sum of its songs.

    Attributes:
        songs: for each root, the mel frames that are heard of each of its windows.
        audio_tokens: placeholders of audio: embeddings through the projector, where they stand among the tokens.
        tokens: of the row.
        seen_tokens: pairs of a token and one that it sees.
        read_tokens: tokens whose last hidden state is read.
        seen_by_read_tokens: pairs of which the first token is such a one.
        targets: tokens predicted.
        song_tokens: for each root, its tokens and those of all below it: what hears the song by cross-attention.
    """

    songs: tuple[tuple[int, ...], ...] = ()
    audio_tokens: int = 0
    tokens: int = 0
    seen_tokens: int = 0
    read_tokens: int = 0
    seen_by_read_tokens: int = 0
    targets: int = 0
    song_tokens: tuple[int, ...] = ()

    def __add__(self, other: "Workload") -> "Workload":
        return Workload(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def windows(self) -> list[int]:
        """Mel frames of each window of all songs."""
        return [frames for song in self.songs for frames in song]


def row_workload(row: PackedBatch) -> Workload:
    """Of a row whose targets are predicted, and nothing else is read."""
    # A token sees its ancestors, what stands before it in its segment, and itself: as many as its position says.
    seen = row.tree.position_ids() + 1
    read = row.targets.positions.unique().cpu()
    frames = torch.zeros(0, dtype=torch.int64) if row.audio is None else row.audio.lengths
    return Workload(
        songs=tuple(tuple(song.tolist()) for song in frames.split(row.window_counts)),
        audio_tokens=len(row.audio_positions),
        tokens=row.tree.num_tokens,
        seen_tokens=int(seen.sum()),
        read_tokens=len(read),
        seen_by_read_tokens=int(seen[read].sum()),
        targets=len(row.targets),
        song_tokens=tuple(sum(row.tree.lengths[segment] for segment in tree) for tree in row.tree.trees()),
    )


def song_workload(
    mel_lengths: Tensor, audio_tokens: int, text_tokens: int, branches: Sequence[tuple[int, int]]
) -> Workload:
    """Of a song and the conversations that branch off it, before there is a row.

    Args:
        mel_lengths: (W,) frames of its windows.
        audio_tokens: placeholders of its audio.
        text_tokens: of the root beside the audio.
        branches: tokens of each prompt, at least one, and of the answer trained after it, which may be none.
    """
    root = text_tokens + audio_tokens
    tokens = root + sum(map(sum, branches))
    answers = sum(answer for _, answer in branches)
    return Workload(
        songs=(tuple(mel_lengths.tolist()),),
        audio_tokens=audio_tokens,
        tokens=tokens,
        seen_tokens=_seen(root, 0) + sum(_seen(prompt + answer, root) for prompt, answer in branches),
        read_tokens=answers,
        # An answer is predicted from the prompt's last token and from its own, but the last.
        seen_by_read_tokens=sum(_seen(answer, root + prompt - 1) for prompt, answer in branches),
        targets=answers,
        song_tokens=(tokens,),
    )


def _seen(tokens: int, before: int) -> int:
    """Pairs of each of `tokens` in a row and what it sees: `before`, those that precede it, itself."""
    return tokens * before + tokens * (tokens + 1) // 2


@dataclass(frozen=True)
class Flops:
    """Of the forward pass.

    Attributes:
        encoder: convolutions and layers of the audio encoder.
        projector: what stands between the two.
        language_model: its layers and head.
    """

    encoder: float
    projector: float
    language_model: float

    @property
    def forward(self) -> float:
        return self.encoder + self.projector + self.language_model

    def training(self, *, encoder: bool, projector: bool, language_model: bool) -> float:
        """Forward and backward when these parts are trained.

        Backward, gradients of a trained part's inputs and weights cost a forward pass each; a frozen part through which
        they pass on the way to a trained one costs one.
        """
        total, trained_below = self.forward, False
        parts = (self.encoder, encoder), (self.projector, projector), (self.language_model, language_model)
        for flops, is_trained in parts:
            total += flops * (2 if is_trained else trained_below)
            trained_below = trained_below or is_trained
        return total


class CostModel(ABC):
    """FLOPs of one kind of model, from its configuration."""

    @abstractmethod
    def flops(self, work: Workload) -> Flops:
        """What a row costs."""
