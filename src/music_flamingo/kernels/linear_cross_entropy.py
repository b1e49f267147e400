"""Log-probabilities of given tokens under a language-model head, without ever holding the logits of all rows.

Rows go through the head in chunks that are recomputed in the backward pass: peak memory is one chunk of logits.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

DEFAULT_CHUNK_ROWS = 2048


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    token_ids: Tensor,
    *,
    temperature: float = 1.0,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each prediction.

    Args:
        hidden: (T, D), the rows that predict something and no others.
        weight: (V, D) of the head.
        token_ids: (T,).
        temperature: logits are divided by it.
        chunk_rows: rows whose logits exist at the same time.

    Returns:
        Log-probabilities (T,) and entropies in nats (T,), float32; no gradient flows through the entropies.
    """
    logprobs, entropies = [], []
    for rows, ids in zip(hidden.split(chunk_rows), token_ids.split(chunk_rows), strict=True):
        chunk = checkpoint(_chunk_logprobs, rows, weight, ids, temperature, use_reentrant=False)
        logprobs.append(chunk[0])
        entropies.append(chunk[1])
    if not logprobs:
        empty = hidden.new_zeros(0, dtype=torch.float32)
        return empty, empty
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk_logprobs(hidden: Tensor, weight: Tensor, token_ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = (hidden @ weight.T).float() / temperature
    logprobs = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, token_ids[:, None])[:, 0], entropy
