"""The batch contract: one packed row of tokens, laid out as a prefix tree.

Every audio token is paid for once, so a batch is never a padded rectangle. It is one row of N tokens cut into segments.
A segment with no parent is a root (usually the song); any other continues its parent (a question on the song, a
completion of the question). A token attends to its own segment causally and to the whole of every ancestor segment,
nothing else.

Dimension letters, used in every docstring of this project:

    N  tokens of the packed row        S  segments             T  trained (target) tokens
    W  audio windows of the row        M  mel bins             F  mel frames of one window
    A  audio tokens of the row         D  width                H  heads              V  vocabulary
    B  prompts                         G  generations per prompt
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from music_flamingo.errors import UserError

IGNORE_INDEX = -100
"""Label of a position that is not trained, where labels are laid out as Hugging Face models expect them."""


@dataclass(frozen=True)
class PrefixTree:
    """Layout of a packed row.

    Args:
        lengths: tokens per segment, in row order.
        parents: index of each segment's parent, -1 for a root. A parent stands before its children, and the segments of
            one root follow it directly.

    Raises:
        ValueError: the layout is not such a forest, or a segment is empty.
    """

    lengths: tuple[int, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.parents):
            raise ValueError(
                f"{len(self.lengths)} segment lengths, but {len(self.parents)} parents: "
                "give each segment a length and a parent, -1 for a root"
            )
        for segment, (length, parent) in enumerate(zip(self.lengths, self.parents, strict=True)):
            if length < 1:
                raise ValueError(f"segment {segment} has {length} tokens: give it at least one, or leave it out")
            if not -1 <= parent < segment:
                raise ValueError(
                    f"segment {segment} names parent {parent}, which does not stand before it: "
                    "put parents before their children, and give a root the parent -1"
                )
            if parent >= 0 and self.root_of(parent) != self.root_of(segment - 1):
                raise ValueError(
                    f"segment {segment} stands apart from its root, segment {self.root_of(parent)}: "
                    "put all segments of a root behind it, before the next root"
                )

    @property
    def num_tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Row position of each segment's first token."""
        return tuple(accumulate(self.lengths[:-1], initial=0))

    @cached_property
    def path_lengths(self) -> tuple[int, ...]:
        """Tokens from the first one of each segment's root to the segment's last."""
        ends: list[int] = []
        for length, parent in zip(self.lengths, self.parents, strict=True):
            ends.append(length + (ends[parent] if parent >= 0 else 0))
        return tuple(ends)

    def root_of(self, segment: int) -> int:
        return self.path(segment)[0]

    def path(self, segment: int) -> list[int]:
        """Segments from the root down to `segment`, both included."""
        path = [segment]
        while self.parents[path[0]] >= 0:
            path.insert(0, self.parents[path[0]])
        return path

    def roots(self) -> list[int]:
        return [segment for segment, parent in enumerate(self.parents) if parent < 0]

    def trees(self) -> Iterator[range]:
        """The segments of each root, root first."""
        roots = [*self.roots(), len(self.parents)]
        return (range(start, end) for start, end in zip(roots[:-1], roots[1:], strict=True))

    def slice_of(self, segment: int) -> slice:
        start = self.starts[segment]
        return slice(start, start + self.lengths[segment])

    def row_positions(self, segment: int) -> list[int]:
        """Row positions of everything the last token of `segment` sees: its ancestors' tokens, then its own."""
        starts = self.starts
        return [p for s in self.path(segment) for p in range(starts[s], starts[s] + self.lengths[s])]

    def position_ids(self) -> Tensor:
        """(N,) int64: 0 at a root's first token; a child goes on where its parent ended."""
        return torch.cat(
            [torch.arange(end - length, end) for end, length in zip(self.path_lengths, self.lengths, strict=True)]
        )


@dataclass(frozen=True)
class AudioWindows:
    """Mel windows of one row, in the order in which their tokens stand in it.

    Args:
        features: (W, M, F) float32 log-mel.
        lengths: (W,) int64, frames of each window that are not padding.
        indices: (W,) int64, place of each window in its song, from 0.
        tokens: (W,) int64, tokens of the row that stand for each window. Where audio is heard by cross-attention, one
            stands for a whole sound.
    """

    features: Tensor
    lengths: Tensor
    indices: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return int(self.features.shape[0])

    def to(self, device: torch.device | str) -> "AudioWindows":
        return AudioWindows(*(each.to(device) for each in self._fields))

    def __getitem__(self, chosen: slice) -> "AudioWindows":
        return AudioWindows(*(each[chosen] for each in self._fields))

    @property
    def _fields(self) -> tuple[Tensor, ...]:
        return self.features, self.lengths, self.indices, self.tokens

    @staticmethod
    def concatenate(windows: Sequence["AudioWindows"]) -> "AudioWindows":
        return AudioWindows(*map(torch.cat, zip(*(each._fields for each in windows), strict=True)))


@dataclass(frozen=True)
class Targets:
    """What is trained.

    The first token of a segment is predicted from the last token of its parent, so one position may predict several
    tokens and targets are pairs rather than shifted labels.

    Args:
        positions: (T,) int64, row position whose hidden state predicts the token.
        token_ids: (T,) int64, the token to predict.
        segments: (T,) int64, segment the token belongs to.
        weights: (T,) float32.
    """

    positions: Tensor
    token_ids: Tensor
    segments: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def to(self, device: torch.device | str) -> "Targets":
        return Targets(*(t.to(device) for t in (self.positions, self.token_ids, self.segments, self.weights)))


@dataclass(frozen=True)
class RowOrigin:
    """Which turn of which songs a training row is: what a checkpoint and a ledger need.

    Args:
        state: of the sampler after this row, for the data module that made it.
        visits: of each song its cut's id, the epoch, and the number of the visit in the epoch.
        left_out: what the row lacks, by the reason.
        idle: another rank has the same songs, and is the one to learn from them.
    """

    state: Any
    visits: tuple[tuple[str, int, int], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    idle: bool = False


@dataclass(frozen=True)
class PackedBatch:
    """All that data modules produce and training stages consume.

    Args:
        input_ids: (N,) int64.
        tree: layout of the row.
        targets: trained tokens; empty for prompts.
        audio: windows of all songs of the row, None for a row of text.
        audio_positions: (A,) int64, row positions of the audio placeholders, in the windows' order.
        window_counts: windows of each root.
        examples: per segment what it was made from (a root: its cut's fields; a prompt: its conversation), for rewards
            and logs.
        origin: of a training row.
    """

    input_ids: Tensor
    tree: PrefixTree
    targets: Targets
    audio: AudioWindows | None
    audio_positions: Tensor
    window_counts: tuple[int, ...]
    examples: tuple[Mapping[str, Any], ...]
    origin: RowOrigin | None = None

    def to(self, device: torch.device | str, **_: object) -> "PackedBatch":
        audio = None if self.audio is None else self.audio.to(device)
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            targets=self.targets.to(device),
            audio=audio,
            audio_positions=self.audio_positions.to(device),
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is to be learned from the row, as another rank has it too."""
        return self.origin is not None and self.origin.idle

    def segment_ids(self, segment: int) -> Tensor:
        """(length,) token ids of one segment."""
        return self.input_ids[self.tree.slice_of(segment)]

    def song_windows(self, root_number: int) -> AudioWindows | None:
        """Windows of the `root_number`-th root, None when it has no audio."""
        if self.audio is None or not self.window_counts[root_number]:
            return None
        start = sum(self.window_counts[:root_number])
        return self.audio[start : start + self.window_counts[root_number]]

    def prompts(self) -> list[int]:
        """Segments nothing continues: the prompts of a batch of prompts. A song nobody asks about is none."""
        songs = {root for root, count in zip(self.tree.roots(), self.window_counts, strict=True) if count}
        continued = set(self.tree.parents) | songs
        return [segment for segment in range(len(self.tree.lengths)) if segment not in continued]


class RowBuilder:
    """Lays segments into a row.

    `song = row.add(ids, windows=w)`, `row.add(ids, parent=song, train_from=9)`, `row.build()`.

    Args:
        audio_token_id: id of the placeholder that an audio embedding replaces.
    """

    def __init__(self, audio_token_id: int) -> None:
        self.audio_token_id = audio_token_id
        self._ids: list[Tensor] = []
        self._parents: list[int] = []
        self._train_from: list[int | None] = []
        self._weights: list[Sequence[float] | None] = []
        self._windows: list[AudioWindows] = []
        self._window_counts: list[int] = []
        self._examples: list[Mapping[str, Any]] = []

    def add(
        self,
        ids: Sequence[int] | Tensor,
        *,
        parent: int = -1,
        windows: AudioWindows | None = None,
        train_from: int | None = None,
        weights: Sequence[float] | None = None,
        example: Mapping[str, Any] | None = None,
        sampled: bool = False,
    ) -> int:
        """Append a segment and return its index.

        Args:
            ids: its tokens.
            parent: segment it continues, -1 for a root.
            windows: audio of a root; its placeholders must already stand in `ids`.
            train_from: first trained token of the segment, None to train none.
            weights: of the trained tokens in the loss, 1 each when None.
            example: what the segment was made from.
            sampled: a model drew the tokens; a placeholder among them is a word like any other, not a place for audio.

        Raises:
            UserError: placeholders without audio, audio without placeholders, or a different number of them.
        """
        ids = torch.as_tensor(ids, dtype=torch.int64)
        placeholders = 0 if sampled else int((ids == self.audio_token_id).sum())
        expected = 0 if windows is None else int(windows.tokens.sum())
        if placeholders != expected:
            raise UserError(
                f"expected {expected} audio placeholders for {0 if windows is None else len(windows)} windows of "
                f"audio, got {placeholders} in the text: give each <sound> its audio and write <sound> only where "
                "there is some"
            )
        if parent < 0:
            self._window_counts.append(0 if windows is None else len(windows))
            self._windows += [] if windows is None else [windows]
        elif windows is not None:
            raise ValueError("audio belongs to a root segment")
        self._ids.append(ids)
        self._parents.append(parent)
        self._train_from.append(train_from)
        self._weights.append(weights)
        self._examples.append(example or {})
        return len(self._ids) - 1

    def build(self) -> PackedBatch:
        tree = PrefixTree(tuple(len(ids) for ids in self._ids), tuple(self._parents))
        input_ids = torch.cat(self._ids)
        heard = [
            (ids == self.audio_token_id) & (parent < 0) for ids, parent in zip(self._ids, self._parents, strict=True)
        ]
        return PackedBatch(
            input_ids=input_ids,
            tree=tree,
            targets=self._targets(tree, input_ids),
            audio=AudioWindows.concatenate(self._windows) if self._windows else None,
            audio_positions=torch.nonzero(torch.cat(heard)).flatten(),
            window_counts=tuple(self._window_counts),
            examples=tuple(self._examples),
        )

    def _targets(self, tree: PrefixTree, input_ids: Tensor) -> Targets:
        sources: list[int] = []
        predicted: list[int] = []
        segments: list[int] = []
        weights: list[float] = []
        starts = tree.starts
        for segment, first in enumerate(self._train_from):
            if first is None:
                continue
            parent = tree.parents[segment]
            for offset in range(first, tree.lengths[segment]):
                if offset == 0 and parent < 0:
                    continue  # nothing stands before a root's first token
                source = starts[segment] + offset - 1 if offset else starts[parent] + tree.lengths[parent] - 1
                sources.append(source)
                predicted.append(starts[segment] + offset)
                segments.append(segment)
                given = self._weights[segment]
                weights.append(1.0 if given is None else given[offset - first])
        return Targets(
            torch.tensor(sources, dtype=torch.int64),
            input_ids[torch.tensor(predicted, dtype=torch.int64)],
            torch.tensor(segments, dtype=torch.int64),
            torch.tensor(weights, dtype=torch.float32),
        )
