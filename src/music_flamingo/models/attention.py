"""How transformers' language models attend when their input is a packed row.

transformers hands unknown keyword arguments of `forward` down to the attention function, so the layout of a row reaches
every layer of an unmodified model as `attend=...`. The mask function is registered too: without it no mask decision
would reach a custom attention, and transformers' own causal mask would be built for a row it does not fit.
"""

from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.prefix_attention import prefix_attention

PREFIX_TREE = "prefix_tree"
"""Name under which the attention is registered with transformers."""


class Attend(Protocol):
    """Attention of one layer over one row: `query` (H, N, D), `key` and `value` (H', N, D) -> (H, N, D)."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor: ...


class TreeAttention:
    """Attention within the row's prefix tree, for training."""

    def __init__(self, tree: PrefixTree) -> None:
        self.tree = tree

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        return prefix_attention(query, key, value, self.tree, scaling)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    attend: Attend | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: tensors are (1, H, N, D), the result (1, N, H, D)."""
    if attend is None or attention_mask is not None or query.shape[0] != 1:
        raise RuntimeError("prefix-tree attention takes one packed row, no attention mask and an `attend` argument")
    output = attend(int(module.layer_idx), query[0], key[0], value[0], scaling)  # type: ignore[arg-type]
    return output.transpose(0, 1)[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says who sees whom."""


AttentionInterface.register(PREFIX_TREE, _attention)
AttentionMaskInterface.register(PREFIX_TREE, _no_mask)
