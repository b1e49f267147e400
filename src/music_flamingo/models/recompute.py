"""Memory against time, by length: in long rows the feed-forward networks are computed again in the backward pass.

They hold most of what a decoder layer keeps, and cost less to repeat than attention over a long song does. Short rows
fit as they are, so they do not pay.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel


def recompute_feed_forward(language_model: PreTrainedModel, above: int) -> None:
    """Keep the inputs only of the feed-forward networks of rows with more than `above` tokens."""
    layers: Any = language_model.layers
    for layer in layers:
        layer.mlp.forward = partial(_forward, layer.mlp.forward, above)


def _forward(forward: Callable[[Tensor], Tensor], above: int, hidden: Tensor) -> Tensor:
    if hidden.shape[-2] <= above or not torch.is_grad_enabled():
        return forward(hidden)
    return cast(Tensor, checkpoint(forward, hidden, use_reentrant=False))
