"""Where a row's tokens stand while they attend: stretches of about the same length as lines of padded grids.

What a token sees falls into two stretches: its own segment with those between it and the root, and the root. Stretches
of all songs share grids, so that a row of many short ones takes few calls.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from music_flamingo.batch import PrefixTree


@dataclass(frozen=True)
class Grid:
    """Lines of tokens and of what they see.

    Attributes:
        tokens: (s, L) counted among those that attend; any of them in the padding.
        is_real: (s, L) which cells are no padding.
        seen: (s, K) places in the row.
        is_causal: cell l of a line sees the first l + 1 of `seen`, and `hidden` is None.
        hidden: (s, L, K) which of `seen` a cell does not see; None where it sees all, or causally.
    """

    tokens: Tensor
    is_real: Tensor
    seen: Tensor
    is_causal: bool = False
    hidden: Tensor | None = None

    @cached_property
    def real_cells(self) -> Tensor | None:
        """(R,) cells, counted along the lines, that are no padding; None where all of them are none."""
        return None if bool(self.is_real.all()) else torch.nonzero(self.is_real.flatten()).flatten()

    @cached_property
    def real_tokens(self) -> Tensor:
        """(R,) tokens of those cells."""
        tokens = self.tokens.flatten()
        return tokens if self.real_cells is None else tokens[self.real_cells]


@dataclass(frozen=True)
class RowLayout:
    """The grids of a row.

    Attributes:
        own: every token that attends over its own segment and those between it and the root; where it stands in a later
            piece of a segment, over that piece.
        roots: every such token below a root over that root.
        earlier: tokens of later pieces over what of the first their own piece lacks.
    """

    own: tuple[Grid, ...]
    roots: tuple[Grid, ...]
    earlier: tuple[Grid, ...] = ()

    @property
    def stretches(self) -> tuple[tuple[Grid, ...], ...]:
        """Grids that have a token once at most; a token sees all of them together."""
        return self.own, self.roots, *([self.earlier] if self.earlier else [])


class Piece(NamedTuple):
    """A stretch of a segment that attends.

    Attributes:
        segment: which.
        start: its first token in the segment.
        stop: behind its last one.
        tokens: (stop - start,) its tokens, counted among those that attend.
    """

    segment: int
    start: int
    stop: int
    tokens: Tensor


def runs_of(tree: PrefixTree, stretches: Iterable[range]) -> tuple[range, ...]:
    """Stretches of a row, in its order, cut at the borders of segments."""
    segments = [range(start, start + length) for start, length in zip(tree.starts, tree.lengths, strict=True)]
    cut = (range(max(a.start, b.start), min(a.stop, b.stop)) for a in stretches for b in segments)
    return tuple(run for run in cut if run)


def pieces_of(tree: PrefixTree, device: torch.device, runs: Sequence[range] | None = None) -> list[Piece]:
    """What attends: the runs, or all segments."""
    runs = runs_of(tree, [range(tree.num_tokens)]) if runs is None else runs
    numbers = torch.arange(sum(map(len, runs)), device=device).split([len(run) for run in runs])
    segments = [bisect_right(tree.starts, run.start) - 1 for run in runs]
    return [
        Piece(segment, run.start - tree.starts[segment], run.stop - tree.starts[segment], tokens)
        for segment, run, tokens in zip(segments, runs, numbers, strict=True)
    ]


@lru_cache(maxsize=8)
def layout_row(tree: PrefixTree, device: torch.device, runs: tuple[range, ...] | None = None) -> RowLayout:
    """Grids of a row, or of those of its tokens that attend; a model's layers, and its reference, ask for the same."""
    places = list(torch.arange(tree.num_tokens, device=device).split(list(tree.lengths)))
    pieces = pieces_of(tree, device, runs)
    before = [_before(piece, tree, places) for piece in pieces]
    # A long piece behind others of its segment needs no mask, where both are apart.
    alone = [n for n, piece in enumerate(pieces) if piece.start or not len(before[n])]
    roots = [number for number in alone if tree.parents[pieces[number].segment] < 0]
    below = [number for number in alone if tree.parents[pieces[number].segment] >= 0]
    deeper = sorted({*range(len(pieces))} - {*alone})
    later = [number for number in alone if len(before[number])]
    lengths = [len(piece.tokens) for piece in pieces]
    own = [_causal(pieces, places, bucket) for group in (roots, below) for bucket in _buckets(lengths, group)]
    own += [_behind_others(pieces, places, before, bucket) for bucket in _buckets(lengths, deeper)]
    earlier = [_over_all(pieces[number], before[number]) for number in later]
    return RowLayout(tuple(own), tuple(_over_roots(tree, places, pieces)), tuple(earlier))


def _before(piece: Piece, tree: PrefixTree, places: Sequence[Tensor]) -> Tensor:
    """Places of what a piece sees before itself: between root and segment, and of the segment."""
    between = [places[segment] for segment in tree.path(piece.segment)[1:-1]]
    return torch.cat([*between, places[piece.segment][: piece.start]])


def _own(piece: Piece, places: Sequence[Tensor]) -> Tensor:
    return places[piece.segment][piece.start : piece.stop]


def _causal(pieces: Sequence[Piece], places: Sequence[Tensor], bucket: Sequence[int]) -> Grid:
    tokens, is_real = padded([pieces[number].tokens for number in bucket])
    seen, _ = padded([_own(pieces[number], places) for number in bucket])
    return Grid(tokens, is_real, seen, is_causal=True)


def _behind_others(
    pieces: Sequence[Piece], places: Sequence[Tensor], before: Sequence[Tensor], bucket: Sequence[int]
) -> Grid:
    tokens, is_real = padded([pieces[number].tokens for number in bucket])
    own, _ = padded([_own(pieces[number], places) for number in bucket])
    context, is_context = padded([before[number] for number in bucket])
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    future = columns[:, None] < columns
    hidden = [~is_context[:, None].expand(-1, len(columns), -1), future.expand(len(tokens), -1, -1)]
    return Grid(tokens, is_real, torch.cat([context, own], 1), hidden=torch.cat(hidden, 2))


def _over_all(piece: Piece, seen: Tensor) -> Grid:
    return Grid(piece.tokens[None], torch.ones_like(piece.tokens, dtype=torch.bool)[None], seen[None])


def _over_roots(tree: PrefixTree, places: Sequence[Tensor], pieces: Sequence[Piece]) -> list[Grid]:
    """One line per tree; trees stand together whose roots are equally long, so that nothing is hidden."""
    below: dict[int, list[Tensor]] = {}
    for piece in pieces:
        if tree.parents[piece.segment] >= 0:
            below.setdefault(tree.root_of(piece.segment), []).append(piece.tokens)
    by_length: dict[int, list[int]] = {}
    for root in below:
        by_length.setdefault(tree.lengths[root], []).append(root)
    num_below = [sum(map(len, below.get(segment, ()))) for segment in range(len(places))]
    grids = []
    for roots in by_length.values():
        for bucket in _buckets(num_below, roots):
            tokens, is_real = padded([torch.cat(below[root]) for root in bucket])
            grids.append(Grid(tokens, is_real, torch.stack([places[root] for root in bucket])))
    return grids


def _buckets(lengths: Sequence[int], pieces: Sequence[int]) -> list[list[int]]:
    """Numbers, shortest first, none less than half as long as another of its bucket, to which it is padded."""
    buckets: list[list[int]] = []
    for number in sorted(pieces, key=lengths.__getitem__):
        if buckets and lengths[number] <= 2 * lengths[buckets[-1][0]]:
            buckets[-1].append(number)
        else:
            buckets.append([number])
    return buckets


def padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Places of several stretches as lines of equal length, and which of them are no padding."""
    ones = [torch.ones_like(part, dtype=torch.bool) for part in parts]
    return pad_sequence(parts, batch_first=True), pad_sequence(ones, batch_first=True)
