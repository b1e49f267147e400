"""Log-probabilities of given tokens under a language-model head, without ever holding the logits of all rows.

Rows go through the head in chunks, whose logits the backward pass computes again: peak memory is one chunk of logits.
Of the forward pass only one number a row is kept for that, the logarithm of the softmax's denominator.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST_ROWS, MOST_LOGITS = 2048, 10_000_000
"""Of a chunk: 40 MB of float32 logits, whatever the vocabulary."""


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    *,
    temperature: float = 1.0,
    chunk_rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each prediction.

    Args:
        hidden: (T, D), the rows that predict something and no others.
        weight: (V, D) of the head.
        token_ids: (T,).
        temperature: logits are divided by it.
        chunk_rows: rows whose logits exist at the same time; by default as many as 40 MB hold.

    Returns:
        Log-probabilities (T,) and entropies in nats (T,), float32; no gradient flows through the entropies.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    chunk_rows = chunk_rows or max(1, min(MOST_ROWS, MOST_LOGITS // len(weight)))
    arguments = hidden.to(dtype), weight.to(dtype), token_ids, temperature, chunk_rows
    logprobs, entropies = _TokenLogprobs.apply(*arguments)  # type: ignore[no-untyped-call]
    return logprobs, entropies


class _TokenLogprobs(torch.autograd.Function):
    """d log p(y) / d logits = onehot(y) - p, at each row by itself."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float, chunk_rows: int
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies, normalisers = hidden.new_empty(3, len(hidden), dtype=torch.float32)
        for start in range(0, len(hidden), chunk_rows):
            rows = slice(start, start + chunk_rows)
            logits = _logits(hidden[rows], weight, temperature)
            targets = logits.gather(-1, token_ids[rows, None])[:, 0]
            normalisers[rows] = normaliser = logits.logsumexp(-1)
            logprobs[rows] = targets - normaliser
            # A vecdot would round both to bfloat16 under autocast.
            expected = (logits - normaliser[:, None]).exp_().mul_(logits).sum(-1)
            entropies[rows] = normaliser - expected
        ctx.save_for_backward(hidden, weight, token_ids, normalisers)
        ctx.temperature, ctx.chunk_rows = temperature, chunk_rows
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden, weight, token_ids, normalisers = ctx.saved_tensors
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, len(hidden), ctx.chunk_rows):
            rows = slice(start, start + ctx.chunk_rows)
            logits = _logits(hidden[rows], weight, ctx.temperature)
            scale = grad[rows, None] / ctx.temperature
            by_logits = logits.sub_(normalisers[rows, None]).exp_().mul_(-scale)
            by_logits.scatter_add_(-1, token_ids[rows, None], scale)
            grad_hidden[rows] = by_logits.to(weight.dtype) @ weight
            if hidden.dtype == grad_weight.dtype:
                grad_weight.addmm_(by_logits.T, hidden[rows])  # no second tensor as large as the head
            else:
                grad_weight += by_logits.to(hidden.dtype).T @ hidden[rows]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)
