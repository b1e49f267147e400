from functools import partial

import pytest
import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.prefix_attention import prefix_attention

LAYOUTS = [
    PrefixTree((5,), (-1,)),
    PrefixTree((7, 3, 1, 4), (-1, 0, 0, 0)),
    PrefixTree((7, 3, 2, 4, 1, 5, 2), (-1, 0, 1, 1, 0, -1, 5)),
    PrefixTree((4, 2, 3, 2, 1), (-1, 0, 1, 2, 3)),
]


def masked_attention(query: Tensor, key: Tensor, value: Tensor, tree: PrefixTree, scaling: float) -> Tensor:
    """The definition, token by token: softmax over everything on the token's own path up to itself."""
    repeat = query.shape[0] // key.shape[0]
    key, value = key.repeat_interleave(repeat, 0), value.repeat_interleave(repeat, 0)
    output = torch.zeros_like(query)
    for segment, length in enumerate(tree.lengths):
        path = tree.row_positions(segment)
        for offset in range(length):
            seen = path[: len(path) - length + offset + 1]
            token = tree.starts[segment] + offset
            weights = torch.einsum("hd,hkd->hk", query[:, token], key[:, seen]).mul(scaling).softmax(-1)
            output[:, token] = torch.einsum("hk,hkd->hd", weights, value[:, seen])
    return output


@pytest.mark.parametrize("tree", LAYOUTS)
@pytest.mark.parametrize("flash", [False, True])
def test_output_and_every_gradient_follow_the_definition(tree: PrefixTree, flash: bool) -> None:
    torch.manual_seed(0)
    shape = (tree.num_tokens, 9)
    inputs = [torch.randn(heads, *shape, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    weight = torch.randn(4, *shape, dtype=torch.float64)
    results = []
    for function in (partial(prefix_attention, flash=flash), masked_attention):
        output = function(*inputs, tree, 0.3)
        results.append((output, *torch.autograd.grad((output * weight).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("flash", [False, True])
def test_bfloat16_stays_within_its_rounding(flash: bool) -> None:
    torch.manual_seed(0)
    tree = LAYOUTS[2]
    inputs = [torch.randn(heads, tree.num_tokens, 16).bfloat16().requires_grad_() for heads in (4, 2, 2)]
    output = prefix_attention(*inputs, tree, 0.3, flash=flash)
    expected = masked_attention(*(each.detach().float() for each in inputs), tree, 0.3)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=2e-2)
    output.float().sum().backward()
    assert all(each.grad.isfinite().all() for each in inputs)  # type: ignore[union-attr]
