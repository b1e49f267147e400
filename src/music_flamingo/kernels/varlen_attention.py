"""Attention over stretches of any length by CUDA's flash attention: nothing is padded, and no key is copied per branch.

The kernels take stretches side by side and where each ends. They come with torch, or from the flash-attn package. Their
causal mask is aligned at the end, so a segment's keys may follow those of the segments above it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.prefix_attention import FlashAttention, FlashLayout, Runs
from music_flamingo.kernels.row_layout import Piece, pieces_of


@dataclass(frozen=True)
class Stretches:
    """Tokens that attend, and what they see; stretch by stretch, side by side.

    Attributes:
        tokens: (T,), counted among those that attend.
        ends: (s + 1,) int32, where each stretch ends in `tokens`, after a 0.
        longest: tokens of the longest stretch.
        seen: (K,) places in the row.
        seen_ends: (s + 1,) int32, the same for `seen`.
        longest_seen: what the longest stretch sees.
        is_causal: the last token of a stretch sees all of its keys, each earlier one a key less.
    """

    tokens: Tensor
    ends: Tensor
    longest: int
    seen: Tensor
    seen_ends: Tensor
    longest_seen: int
    is_causal: bool


QueryKeyValue = tuple[Tensor, Tensor, Tensor]


class VarlenKernel(ABC):
    """Flash attention of stretches: query (T, H, D), key and value (K, H', D), log-sum-exp (H, T)."""

    @abstractmethod
    def forward(self, inputs: QueryKeyValue, stretches: Stretches, scaling: float) -> tuple[Tensor, Tensor]:
        """Output (T, H, D) and log-sum-exp (H, T) float32."""

    @abstractmethod
    def backward(
        self, gradient: Tensor, inputs: QueryKeyValue, output: Tensor, lse: Tensor, stretches: Stretches, scaling: float
    ) -> QueryKeyValue:
        """Gradients of query, key and value."""


class TorchVarlen(VarlenKernel):
    """What stands behind `torch.nn.attention.varlen`."""

    def __init__(self) -> None:
        import torch.nn.attention.varlen  # noqa: F401, PLC0415  registers the operators; a second that a CPU run saves

        self._forward = torch.ops.torch_attn._varlen_attn
        self._backward = torch.ops.torch_attn._varlen_attn_backward

    def forward(self, inputs: QueryKeyValue, stretches: Stretches, scaling: float) -> tuple[Tensor, Tensor]:
        """See `VarlenKernel`."""
        output, lse, _ = self._forward(
            *(*inputs, stretches.ends, stretches.seen_ends, stretches.longest, stretches.longest_seen),
            is_causal=stretches.is_causal,
            scale=scaling,
            enable_gqa=True,
        )
        return output, lse

    def backward(
        self, gradient: Tensor, inputs: QueryKeyValue, output: Tensor, lse: Tensor, stretches: Stretches, scaling: float
    ) -> QueryKeyValue:
        """See `VarlenKernel`."""
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=gradient.device)
        to_query, to_key, to_value = self._backward(
            *(gradient, *inputs, output, lse, stretches.ends, stretches.seen_ends),
            *(stretches.longest, stretches.longest_seen, stretches.is_causal, no_dropout),
            scale=scaling,
        )
        return to_query, to_key, to_value


class FlashAttnVarlen(VarlenKernel):
    """The flash-attn package, 2.8: its own functions, as its public one takes no merged log-sum-exp."""

    def __init__(self) -> None:
        from flash_attn import flash_attn_interface  # noqa: PLC0415  an extra

        self._package = flash_attn_interface

    def forward(self, inputs: QueryKeyValue, stretches: Stretches, scaling: float) -> tuple[Tensor, Tensor]:
        """See `VarlenKernel`."""
        output, lse, *_ = self._package._flash_attn_varlen_forward(
            *(*inputs, stretches.ends, stretches.seen_ends, stretches.longest, stretches.longest_seen),
            dropout_p=0.0,
            softmax_scale=scaling,
            causal=stretches.is_causal,
        )
        return output, lse

    def backward(
        self, gradient: Tensor, inputs: QueryKeyValue, output: Tensor, lse: Tensor, stretches: Stretches, scaling: float
    ) -> QueryKeyValue:
        """See `VarlenKernel`."""
        to_query, to_key, to_value = (torch.empty_like(each) for each in inputs)
        self._package._flash_attn_varlen_backward(
            *(gradient, *inputs, output, lse, to_query, to_key, to_value, stretches.ends, stretches.seen_ends),
            *(stretches.longest, stretches.longest_seen),
            dropout_p=0.0,
            softmax_scale=scaling,
            causal=stretches.is_causal,
            window_size_left=-1,
            window_size_right=-1,
            softcap=0.0,
            alibi_slopes=None,
            deterministic=False,
        )
        return to_query, to_key, to_value


class VarlenFlash(FlashAttention):
    """Flash attention of CUDA, in bfloat16 or float16.

    Args:
        kernel: whose; None takes flash-attn where it is installed, else torch's.
    """

    def __init__(self, kernel: VarlenKernel | None = None) -> None:
        self.kernel = kernel or _installed_kernel()

    def layout(self, tree: PrefixTree, device: torch.device, runs: Runs | None) -> FlashLayout:
        """See `FlashAttention`."""
        return _VarlenLayout(self.kernel, stretches_of(tree, device, runs))


class _VarlenLayout(FlashLayout):
    def __init__(self, kernel: VarlenKernel, stretches: tuple[Stretches, ...]) -> None:
        self.kernel = kernel
        self.stretches = stretches

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        output = query.new_zeros(query.shape)
        lse = torch.full(query.shape[:2], -torch.inf, dtype=torch.float32, device=query.device)
        for stretches in self.stretches:
            tokens, seen = stretches.tokens, stretches.seen
            part, part_lse = self.kernel.forward((query[tokens], key[seen], value[seen]), stretches, scaling)
            before, now = lse[tokens], part_lse.T
            merged = torch.logaddexp(before, now)
            before_share, share = (torch.exp(z - merged)[..., None] for z in (before, now))
            output[tokens] = (output[tokens] * before_share + part * share).to(output.dtype)
            lse[tokens] = merged
        return output, lse

    def backward(
        self, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, scaling: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        to_query, to_key, to_value = (torch.zeros_like(each) for each in (query, key, value))
        for stretches in self.stretches:
            tokens, seen = stretches.tokens, stretches.seen
            of_query, of_key, of_value = self.kernel.backward(
                gradient[tokens],
                (query[tokens], key[seen], value[seen]),
                output[tokens],
                lse[tokens].T.contiguous(),
                stretches,
                scaling,
            )
            to_query.index_add_(0, tokens, of_query)
            to_key.index_add_(0, seen, of_key)
            to_value.index_add_(0, seen, of_value)
        return to_query, to_key, to_value


@lru_cache(maxsize=8)
def stretches_of(tree: PrefixTree, device: torch.device, runs: Runs | None = None) -> tuple[Stretches, ...]:
    """What attends over its own segment and those between it and the root; then all below a root over the root."""
    places = list(torch.arange(tree.num_tokens, device=device).split(list(tree.lengths)))
    pieces = pieces_of(tree, device, runs)
    if not pieces:
        return ()
    own = _side_by_side([p.tokens for p in pieces], [_seen(p, tree, places) for p in pieces], is_causal=True)
    below: dict[int, list[Tensor]] = {}
    for piece in pieces:
        if tree.parents[piece.segment] >= 0:
            below.setdefault(tree.root_of(piece.segment), []).append(piece.tokens)
    tokens = [torch.cat(each) for each in below.values()]
    over_roots = [_side_by_side(tokens, [places[root] for root in below], is_causal=False)] if below else []
    return own, *over_roots


def _seen(piece: Piece, tree: PrefixTree, places: Sequence[Tensor]) -> Tensor:
    """Places of what a piece sees below its root, or in it, up to its own last token."""
    between = [places[segment] for segment in tree.path(piece.segment)[1:-1]]
    return torch.cat([*between, places[piece.segment][: piece.stop]])


def _side_by_side(tokens: Sequence[Tensor], seen: Sequence[Tensor], *, is_causal: bool) -> Stretches:
    lengths, seen_lengths = [len(t) for t in tokens], [len(k) for k in seen]
    device = tokens[0].device

    def ends(of: Sequence[int]) -> Tensor:
        return torch.tensor([0, *accumulate(of)], dtype=torch.int32, device=device)

    return Stretches(
        tokens=torch.cat(list(tokens)),
        ends=ends(lengths),
        longest=max(lengths),
        seen=torch.cat(list(seen)),
        seen_ends=ends(seen_lengths),
        longest_seen=max(seen_lengths),
        is_causal=is_causal,
    )


def _installed_kernel() -> VarlenKernel:
    try:
        return FlashAttnVarlen()
    except ImportError:
        return TorchVarlen()
