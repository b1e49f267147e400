"""How transformers' language models attend when their input is a packed row.

transformers hands unknown keyword arguments of `forward` down to the attention function, so the layout of a row reaches
every layer of an unmodified model as `attend=...`. The mask function is registered too: without it no mask decision
would reach a custom attention, and transformers' own causal mask would be built for a row it does not fit.
"""

from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels import GridFlash, PlainAttention, PrefixAttention, VarlenFlash

PREFIX_TREE = "prefix_tree"
"""Name under which the attention is registered with transformers."""


class Attend(Protocol):
    """Attention of one layer over one row: `query` (H, N, D), `key` and `value` (H', N, D) -> (H, N, D).

    In the last layer `query` and result may hold only the rows that are read.
    """

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor: ...


class TreeAttention:
    """Attention within the row's prefix tree.

    Args:
        tree: layout of the row.
        rows: (R,) the tokens, in increasing order, that a query without all of them stands for.
        attention: how; None takes the fastest for the tensors that come.
    """

    def __init__(self, tree: PrefixTree, rows: Tensor | None = None, attention: PrefixAttention | None = None) -> None:
        self.tree = tree
        self.rows = rows
        self._attention = attention
        roots = [tree.slice_of(root) for root in tree.roots()]
        self._reads_roots = rows is None or any(bool(((rows >= s.start) & (rows < s.stop)).any()) for s in roots)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        attention = self._attention or fastest_attention(query.device.type, query.dtype)
        if self.rows is None or query.shape[1] == key.shape[1]:
            return attention(query, key, value, self.tree, scaling)
        spread = query.new_zeros(query.shape[0], key.shape[1], query.shape[2]).index_copy(1, self.rows, query)
        output = attention(spread, key, value, self.tree, scaling, with_roots=self._reads_roots)
        return output.index_select(1, self.rows)


@lru_cache
def fastest_attention(device: str, dtype: torch.dtype) -> PrefixAttention:
    """Flash attention where the device has one for the dtype, plain torch elsewhere."""
    if device == "cpu":
        return GridFlash()
    return VarlenFlash() if device == "cuda" and dtype in {torch.bfloat16, torch.float16} else PlainAttention()


def attention_interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    attend: Attend | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: tensors are (1, H, N, D), the result (1, N, H, D) in the dtype of `value`."""
    if attend is None or attention_mask is not None or query.shape[0] != 1:
        raise RuntimeError("prefix-tree attention takes one packed row, no attention mask and an `attend` argument")
    # Rotary tables are float32, and under autocast so is what they turned.
    query, key = query.to(value.dtype), key.to(value.dtype)
    output = attend(int(module.layer_idx), query[0], key[0], value[0], scaling)  # type: ignore[arg-type]
    return output.transpose(0, 1)[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says who sees whom."""


AttentionInterface.register(PREFIX_TREE, attention_interface)
AttentionMaskInterface.register(PREFIX_TREE, _no_mask)
