"""How transformers' language models attend when their input is a packed row.

transformers hands unknown keyword arguments of `forward` down to the attention function, so the layout of a row reaches
every layer of an unmodified model as `attend=...`. The mask function is registered too: without it no mask decision
would reach a custom attention, and transformers' own causal mask would be built for a row it does not fit.
"""

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels import GridFlash, PlainAttention, PrefixAttention, VarlenFlash
from music_flamingo.kernels.prefix_attention import Runs
from music_flamingo.kernels.row_exchange import RowExchange
from music_flamingo.kernels.row_layout import runs_of

PREFIX_TREE = "prefix_tree"
"""Name under which the attention is registered with transformers."""


class Attend(Protocol):
    """Attention of one layer over one row: `query` (H, N, D), `key` and `value` (H', N, D) -> (H, N, D).

    In the last layer `query` and result may hold only the rows that are read.
    """

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor: ...


class TokenShare(NamedTuple):
    """Tokens of a row that a rank computes, where ranks share it.

    Attributes:
        runs: which.
        exchange: of the row's tokens.
    """

    runs: Runs
    exchange: RowExchange


class TreeAttention:
    """Attention within the row's prefix tree.

    Args:
        tree: layout of the row.
        rows: (R,) places, in increasing order, of the tokens that a query of R tokens stands for.
        attention: how; None takes the fastest for the tensors that come.
        share: this rank's part of the row, of which queries, keys and values then are; None for all.
    """

    def __init__(
        self,
        tree: PrefixTree,
        rows: Tensor | None = None,
        attention: PrefixAttention | None = None,
        share: TokenShare | None = None,
    ) -> None:
        self.tree = tree
        self.rows = rows
        self._attention = attention
        self._runs = None if share is None else share.runs
        self._exchange = None if share is None else share.exchange
        if rows is not None:
            self._read_runs, self._read = _runs_with(tree, self._runs, rows)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        attention = self._attention or fastest_attention(query.device.type, query.dtype)
        if self.rows is None or query.shape[1] == key.shape[1]:
            return attention(query, key, value, self.tree, scaling, runs=self._runs, exchange=self._exchange)
        attending = query.new_zeros(query.shape[0], sum(map(len, self._read_runs)), query.shape[2])
        attending = attending.index_copy(1, self._read, query)
        output = attention(attending, key, value, self.tree, scaling, runs=self._read_runs, exchange=self._exchange)
        return output.index_select(1, self._read)


def _runs_with(tree: PrefixTree, runs: Runs | None, rows: Tensor) -> tuple[Runs, Tensor]:
    """The runs that hold some of the rows (R,), and where in them, one behind the other, those stand (R,)."""
    runs = runs_of(tree, [range(tree.num_tokens)]) if runs is None else runs
    stops = torch.tensor([run.stop for run in runs], device=rows.device)
    run_of_row = torch.searchsorted(stops, rows, right=True)
    held = run_of_row.unique().tolist()
    offsets = torch.zeros(len(runs), dtype=torch.int64)
    ends = 0
    for number in held:
        offsets[number] = ends - runs[number].start
        ends += len(runs[number])
    return tuple(runs[number] for number in held), rows + offsets.to(rows.device)[run_of_row]


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
