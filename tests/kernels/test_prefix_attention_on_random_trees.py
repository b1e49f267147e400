import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels import GridFlash, PlainAttention, PrefixAttention, VarlenFlash
from music_flamingo.kernels.row_layout import runs_of
from tests.kernels.definition import DefinitionVarlen, masked_attention
from tests.layouts import forests, who_sees_whom

HEADS = st.sampled_from([(1, 1), (4, 2), (3, 1)])
"""Of the queries, and of the keys and values."""


each_way = pytest.mark.parametrize(
    "attention", [PlainAttention(), GridFlash(), VarlenFlash(DefinitionVarlen())], ids=lambda way: type(way).__name__
)


def random_inputs(tree: PrefixTree, heads: tuple[int, int], width: int = 5) -> list[Tensor]:
    """Queries, keys and values (H, N, D)."""
    draw = torch.Generator().manual_seed(tree.num_tokens)
    return [
        torch.randn(each, tree.num_tokens, width, dtype=torch.float64, generator=draw).requires_grad_()
        for each in (heads[0], heads[1], heads[1])
    ]


@each_way
@settings(max_examples=60)
@given(tree=forests(), heads=HEADS)
def test_output_and_every_gradient_follow_the_definition(
    attention: PrefixAttention, tree: PrefixTree, heads: tuple[int, int]
) -> None:
    inputs = random_inputs(tree, heads)
    weight = torch.randn(inputs[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for function in (attention, masked_attention):
        output = function(*inputs, tree, 0.3)
        results.append((output, *torch.autograd.grad((output * weight).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@each_way
@settings(max_examples=60)
@given(tree=forests(), heads=HEADS, data=st.data())
def test_tokens_that_attend_alone_see_what_they_see_among_all(
    attention: PrefixAttention, tree: PrefixTree, heads: tuple[int, int], data: st.DataObject
) -> None:
    inputs = random_inputs(tree, heads)
    borders = sorted(data.draw(st.sets(st.integers(0, tree.num_tokens), min_size=2, max_size=6)))
    runs = runs_of(tree, [range(*pair) for pair in zip(borders[::2], borders[1::2], strict=False)])
    places = torch.tensor([place for run in runs for place in run])
    weight = torch.randn(inputs[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))[:, places]
    query, key, value = inputs
    results = []
    for output in (
        attention(query[:, places], key, value, tree, 0.3, runs=runs),
        masked_attention(*inputs, tree, 0.3)[:, places],
    ):
        results.append((output, *torch.autograd.grad((output * weight).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@each_way
@settings(max_examples=60)
@given(tree=forests(), heads=HEADS)
def test_a_token_depends_on_what_it_may_see_and_on_nothing_else(
    attention: PrefixAttention, tree: PrefixTree, heads: tuple[int, int]
) -> None:
    inputs = random_inputs(tree, heads)
    output = attention(*inputs, tree, 0.3)
    weight = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    of_tokens = (output * weight).sum((0, 2))  # (N,)
    depends = []
    for token in of_tokens:
        gradients = torch.autograd.grad(token, inputs, retain_graph=True)
        depends.append(torch.stack([(gradient != 0).any(2).any(0) for gradient in gradients]))
    on_query, on_key, on_value = torch.stack(depends, 1)  # (N, N) each
    seen, itself = who_sees_whom(tree), torch.eye(tree.num_tokens, dtype=torch.bool)
    assert torch.equal(on_value, seen)
    # Whoever sees one token only gives it all weight, whatever query and key are: there, rounding is all that is left.
    chooses = seen.sum(1, keepdim=True) > 1
    assert torch.equal(on_key & chooses, seen & chooses)
    assert torch.equal(on_query & chooses, itself & chooses)
    assert not (on_key & ~seen).any()
    assert not (on_query & ~itself).any()
