"""Random layouts of packed rows, and who sees whom in them by the definition."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from music_flamingo.batch import PrefixTree


@st.composite
def forests(draw: st.DrawFn, max_segments: int = 7, max_length: int = 4) -> PrefixTree:
    """One tree or several, of any shape and depth; simpler ones first."""
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=max_segments))
    parents: list[int] = []
    root = 0
    for segment in range(len(lengths)):
        # The last segment stands there twice, so that many trees are deep.
        parent = draw(st.sampled_from([-1, segment - 1, *range(root, segment)])) if segment else -1
        root = segment if parent < 0 else root
        parents.append(parent)
    return PrefixTree(tuple(lengths), tuple(parents))


def who_sees_whom(tree: PrefixTree) -> Tensor:
    """(N, N) bool: whether the token of a line may see the token of a column."""
    places = [(segment, offset) for segment, length in enumerate(tree.lengths) for offset in range(length)]

    def sees(viewer: tuple[int, int], seen: tuple[int, int]) -> bool:
        if viewer[0] == seen[0]:
            return seen[1] <= viewer[1]
        above = tree.parents[viewer[0]]
        while above >= 0 and above != seen[0]:
            above = tree.parents[above]
        return above >= 0

    return torch.tensor([[sees(viewer, seen) for seen in places] for viewer in places])
