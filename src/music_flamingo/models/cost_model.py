"""How many FLOPs does a row cost? Counted from its layout and the model's configuration, before anything is computed.

Only products of matrices and convolutions count, a multiplication with its addition as two; all else is small beside
them. Music Flamingo at its full size (encoder 0.63 billion parameters, Qwen2.5-7B) needs, forward,

    2.27e12 for an audio window of 30 s, a sixth of it attention,
    13.05e9 for a token, 1.09e9 for a token that is predicted,
    401e3 for a token and one it sees: 200.7e3 S^2 for S tokens that see all before them.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import MusicFlamingoConfig

from music_flamingo.batch import PackedBatch
from music_flamingo.models.audio_encoder import audio_token_lengths, encoder_frames


@dataclass(frozen=True)
class Workload:
    """What the cost of a row depends on. Songs see nothing of each other, so a row is the sum of its songs.

    Attributes:
        encoder_frames: what the encoder's layers compute: a frame for 20 ms of audio, none for padding.
        seen_encoder_frames: pairs of such a frame and one of its window.
        audio_tokens: embeddings of audio through the projector.
        tokens: of the row.
        seen_tokens: pairs of a token and one that it sees.
        read_tokens: tokens whose last hidden state is read.
        seen_by_read_tokens: pairs of which the first token is such a one.
        targets: tokens predicted.
    """

    encoder_frames: int = 0
    seen_encoder_frames: int = 0
    audio_tokens: int = 0
    tokens: int = 0
    seen_tokens: int = 0
    read_tokens: int = 0
    seen_by_read_tokens: int = 0
    targets: int = 0

    def __add__(self, other: "Workload") -> "Workload":
        return Workload(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def row_workload(row: PackedBatch) -> Workload:
    """Of a row whose targets are predicted, and nothing else is read."""
    # A token sees its ancestors, what stands before it in its segment, and itself: as many as its position says.
    seen = row.tree.position_ids() + 1
    read = row.targets.positions.unique().cpu()
    frames = encoder_frames(row.audio.lengths) if row.audio is not None else torch.zeros(0, dtype=torch.int64)
    return Workload(
        encoder_frames=int(frames.sum()),
        seen_encoder_frames=int(frames.square().sum()),
        audio_tokens=len(row.audio_positions),
        tokens=row.tree.num_tokens,
        seen_tokens=int(seen.sum()),
        read_tokens=len(read),
        seen_by_read_tokens=int(seen[read].sum()),
        targets=len(row.targets),
    )


def song_workload(mel_lengths: Tensor, text_tokens: int, branches: Sequence[tuple[int, int]]) -> Workload:
    """Of a song and the conversations that branch off it, before there is a row.

    Args:
        mel_lengths: (W,) frames of its windows.
        text_tokens: of the root beside the audio.
        branches: tokens of each prompt, at least one, and of the answer trained after it, which may be none.
    """
    audio_tokens = int(audio_token_lengths(mel_lengths).sum())
    frames = encoder_frames(mel_lengths)
    root = text_tokens + audio_tokens
    answers = sum(answer for _, answer in branches)
    return Workload(
        encoder_frames=int(frames.sum()),
        seen_encoder_frames=int(frames.square().sum()),
        audio_tokens=audio_tokens,
        tokens=root + sum(map(sum, branches)),
        seen_tokens=_seen(root, 0) + sum(_seen(prompt + answer, root) for prompt, answer in branches),
        read_tokens=answers,
        # An answer is predicted from the prompt's last token and from its own, but the last.
        seen_by_read_tokens=sum(_seen(answer, root + prompt - 1) for prompt, answer in branches),
        targets=answers,
    )


def _seen(tokens: int, before: int) -> int:
    """Pairs of each of `tokens` in a row and what it sees: `before`, those that precede it, itself."""
    return tokens * before + tokens * (tokens + 1) // 2


@dataclass(frozen=True)
class Flops:
    """Of the forward pass.

    Attributes:
        encoder: convolutions and layers of the audio encoder.
        projector: from the encoder's width to the language model's.
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


class CostModel:
    """FLOPs of a Music Flamingo, with a language model of Qwen2's kind.

    Args:
        config: of transformers' model.

    Source: the layers of transformers 5.23; `models/last_layer.py` for what the last one computes.
    """

    def __init__(self, config: MusicFlamingoConfig) -> None:
        audio: Any = config.audio_config
        text: Any = config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        attended, kept = head_dim * text.num_attention_heads, head_dim * text.num_key_value_heads
        width = audio.hidden_size
        convolutions = 2 * 3 * width * (2 * audio.num_mel_bins + width)  # the second has a stride of 2
        projections = 2 * width * (4 * width + 2 * audio.intermediate_size)
        self._encoder_frame = convolutions + audio.num_hidden_layers * projections
        self._seen_encoder_frame = audio.num_hidden_layers * 4 * width
        self._audio_token = 2 * (audio.hidden_size + text.hidden_size) * text.hidden_size
        self._layers: int = text.num_hidden_layers
        self._key_and_value = 2 * text.hidden_size * 2 * kept
        self._all_else = 2 * text.hidden_size * (2 * attended + 3 * text.intermediate_size)
        self._seen_token = 4 * attended
        self._target = 2 * text.hidden_size * text.vocab_size

    def flops(self, work: Workload) -> Flops:
        """What a row costs."""
        full_layer = work.tokens * (self._key_and_value + self._all_else) + work.seen_tokens * self._seen_token
        last_layer = (
            work.tokens * self._key_and_value
            + work.read_tokens * self._all_else
            + work.seen_by_read_tokens * self._seen_token
        )
        return Flops(
            encoder=work.encoder_frames * self._encoder_frame + work.seen_encoder_frames * self._seen_encoder_frame,
            projector=work.audio_tokens * self._audio_token,
            language_model=(self._layers - 1) * full_layer + last_layer + work.targets * self._target,
        )
