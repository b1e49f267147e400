import pytest
import torch

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels import GridFlash, PlainAttention, PrefixAttention, VarlenFlash
from music_flamingo.kernels.varlen_attention import TorchVarlen
from tests.kernels.definition import DefinitionVarlen, masked_attention

LAYOUTS = [
    PrefixTree((5,), (-1,)),
    PrefixTree((7, 3, 1, 4), (-1, 0, 0, 0)),
    PrefixTree((7, 3, 2, 4, 1, 5, 2), (-1, 0, 1, 1, 0, -1, 5)),
    PrefixTree((4, 2, 3, 2, 1), (-1, 0, 1, 2, 3)),
]


WAYS = [PlainAttention(), GridFlash(), VarlenFlash(DefinitionVarlen())]


@pytest.mark.parametrize("tree", LAYOUTS)
@pytest.mark.parametrize("attention", WAYS, ids=lambda way: type(way).__name__)
def test_output_and_every_gradient_follow_the_definition(tree: PrefixTree, attention: PrefixAttention) -> None:
    torch.manual_seed(0)
    shape = (tree.num_tokens, 9)
    inputs = [torch.randn(heads, *shape, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    weight = torch.randn(4, *shape, dtype=torch.float64)
    results = []
    for function in (attention, masked_attention):
        output = function(*inputs, tree, 0.3)
        results.append((output, *torch.autograd.grad((output * weight).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attention", WAYS[:2], ids=lambda way: type(way).__name__)
def test_bfloat16_stays_within_its_rounding(attention: PrefixAttention) -> None:
    torch.manual_seed(0)
    tree = LAYOUTS[2]
    inputs = [torch.randn(heads, tree.num_tokens, 16).bfloat16().requires_grad_() for heads in (4, 2, 2)]
    output = attention(*inputs, tree, 0.3)
    expected = masked_attention(*(each.detach().float() for each in inputs), tree, 0.3)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=2e-2)
    output.float().sum().backward()
    assert all(each.grad.isfinite().all() for each in inputs)  # type: ignore[union-attr]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tree", LAYOUTS)
def test_torchs_varlen_kernel_follows_plain_attention(tree: PrefixTree) -> None:
    torch.manual_seed(0)
    shape = (tree.num_tokens, 64)
    inputs = [torch.randn(heads, *shape, device="cuda").bfloat16().requires_grad_() for heads in (4, 2, 2)]
    weight = torch.randn(4, *shape, device="cuda")
    results = []
    for attention in (VarlenFlash(TorchVarlen()), PlainAttention()):
        output = attention(*inputs, tree, 0.125)
        results.append((output, *torch.autograd.grad((output.float() * weight).sum(), inputs)))
    for ours, expected in zip(*results, strict=True):
        assert float((ours - expected).float().norm() / expected.float().norm()) < 2e-2
