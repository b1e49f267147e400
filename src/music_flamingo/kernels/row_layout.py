"""Where a row's tokens stand while they attend: stretches of about the same length as lines of padded grids.

What a token sees falls into two stretches: its own segment with those between it and the root, and the root. Stretches
of all songs share grids, so that a row of many short ones takes few calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from music_flamingo.batch import PrefixTree


@dataclass(frozen=True)
class Grid:
    """Lines of tokens and of what they see, as places in the row.

    Attributes:
        tokens: (s, L), any place in the padding.
        is_real: (s, L) which cells are no padding.
        seen: (s, K).
        is_causal: cell l of a line sees the first l + 1 of `seen`, and `hidden` is None.
        hidden: (s, L, K) which of `seen` a cell does not see; None where it sees all, or causally.
        is_root: the tokens are roots'.
    """

    tokens: Tensor
    is_real: Tensor
    seen: Tensor
    is_causal: bool = False
    hidden: Tensor | None = None
    is_root: bool = False

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
        own: every token over its own segment and those between it and the root.
        roots: every token below a root over that root.
    """

    own: tuple[Grid, ...]
    roots: tuple[Grid, ...]


@lru_cache(maxsize=8)
def layout_row(tree: PrefixTree, device: torch.device) -> RowLayout:
    """Grids of a row; the layers of a model, and its reference, ask for the same ones."""
    places = list(torch.arange(tree.num_tokens, device=device).split(list(tree.lengths)))
    roots = tree.roots()
    between = [_between(places, tree.path(segment)[1:-1]) for segment in range(len(places))]
    directly = [s for s, parent in enumerate(tree.parents) if parent >= 0 and tree.parents[parent] < 0]
    deeper = [s for s, parent in enumerate(tree.parents) if parent >= 0 and tree.parents[parent] >= 0]
    own = [_causal(places, segments, is_root=True) for segments in _buckets(tree.lengths, roots)]
    own += [_causal(places, segments, is_root=False) for segments in _buckets(tree.lengths, directly)]
    own += [_below_others(places, between, segments) for segments in _buckets(tree.lengths, deeper)]
    return RowLayout(tuple(own), tuple(_over_roots(tree, places)))


def _causal(places: list[Tensor], segments: list[int], *, is_root: bool) -> Grid:
    tokens, is_real = padded([places[s] for s in segments])
    return Grid(tokens, is_real, tokens, is_causal=True, is_root=is_root)


def _below_others(places: list[Tensor], between: list[Tensor], segments: list[int]) -> Grid:
    tokens, is_real = padded([places[s] for s in segments])
    context, is_context = padded([between[s] for s in segments])
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    future = columns[:, None] < columns
    hidden = [~is_context[:, None].expand(-1, len(columns), -1), future.expand(len(tokens), -1, -1)]
    return Grid(tokens, is_real, torch.cat([context, tokens], 1), hidden=torch.cat(hidden, 2))


def _over_roots(tree: PrefixTree, places: list[Tensor]) -> list[Grid]:
    """One line per tree; trees stand together whose roots are equally long, so that nothing is hidden."""
    below = {segments[0]: [places[s] for s in segments[1:]] for segments in tree.trees() if len(segments) > 1}
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


def _between(places: list[Tensor], segments: Sequence[int]) -> Tensor:
    return torch.cat([places[s] for s in segments]) if segments else places[0][:0]


def _buckets(lengths: Sequence[int], segments: list[int]) -> list[list[int]]:
    """Segments, shortest first, none less than half as long as another of its bucket, to which it is padded."""
    buckets: list[list[int]] = []
    for segment in sorted(segments, key=lengths.__getitem__):
        if buckets and lengths[segment] <= 2 * lengths[buckets[-1][0]]:
            buckets[-1].append(segment)
        else:
            buckets.append([segment])
    return buckets


def padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Places of several stretches as lines of equal length, and which of them are no padding."""
    ones = [torch.ones_like(part, dtype=torch.bool) for part in parts]
    return pad_sequence(parts, batch_first=True), pad_sequence(ones, batch_first=True)
