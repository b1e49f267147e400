"""What attention over a prefix tree computes, token by token and stretch by stretch, without any trick."""

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.varlen_attention import QueryKeyValue, Stretches, VarlenKernel


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


class DefinitionVarlen(VarlenKernel):
    """What the CUDA kernels compute, stretch by stretch, their backward by autograd through the given log-sum-exp."""

    def forward(self, inputs: QueryKeyValue, stretches: Stretches, scaling: float) -> tuple[Tensor, Tensor]:
        outputs, lses = [], []
        for scores, values in self._stretches(*inputs, stretches, scaling):
            outputs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), values))
            lses.append(scores.logsumexp(-1).float())
        return torch.cat(outputs), torch.cat(lses, 1)

    def backward(
        self, gradient: Tensor, inputs: QueryKeyValue, output: Tensor, lse: Tensor, stretches: Stretches, scaling: float
    ) -> QueryKeyValue:
        # d scores = p (dp - gradient . output), with the probabilities of the given log-sum-exp
        inputs = tuple(each.detach().requires_grad_() for each in inputs)  # type: ignore[assignment]
        total, at = 0.0, 0
        with torch.enable_grad():
            for scores, values in self._stretches(*inputs, stretches, scaling):
                here = slice(at, at + scores.shape[1])
                shares = torch.exp(scores.detach() - lse[:, here, None])
                to_shares = torch.einsum("qhd,khd->hqk", gradient[here], values)
                dot = (gradient[here] * output[here]).sum(-1).T[..., None]
                finite = torch.where(scores == -torch.inf, 0.0, scores)
                total = total + (finite * shares * (to_shares - dot).detach()).sum()
                total = total + (to_shares * shares).sum()
                at = here.stop
        to_query, to_key, to_value = torch.autograd.grad(total, inputs)  # type: ignore[arg-type]
        return to_query, to_key, to_value

    @staticmethod
    def _stretches(
        query: Tensor, key: Tensor, value: Tensor, stretches: Stretches, scaling: float
    ) -> list[tuple[Tensor, Tensor]]:
        """Scores (H, L, K) and values (K, H, D) of each stretch."""
        assert stretches.ends.dtype == stretches.seen_ends.dtype == torch.int32
        repeat = query.shape[1] // key.shape[1]
        found = []
        for number in range(len(stretches.ends) - 1):
            mine = slice(int(stretches.ends[number]), int(stretches.ends[number + 1]))
            theirs = slice(int(stretches.seen_ends[number]), int(stretches.seen_ends[number + 1]))
            length, num_seen = mine.stop - mine.start, theirs.stop - theirs.start
            assert length <= stretches.longest
            assert num_seen <= stretches.longest_seen
            keys, values = (each[theirs].repeat_interleave(repeat, 1) for each in (key, value))
            scores = torch.einsum("qhd,khd->hqk", query[mine], keys) * scaling
            if stretches.is_causal:
                future = torch.ones(length, num_seen, dtype=torch.bool).triu(num_seen - length + 1)
                scores = scores.masked_fill(future, -torch.inf)
            found.append((scores, values))
        return found
