"""Memory against time, by length: what long rows do not keep is computed again in the backward pass.

Feed-forward networks hold most of what a decoder layer keeps, and cost less to repeat than attention over a long song
does. Of still longer rows a whole layer keeps its input alone. Short rows fit as they are, so they do not pay.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel


def recompute_long_rows(language_model: PreTrainedModel, above: int | None, layers_above: int | None) -> None:
    """Keep less of rows with more tokens.

    Args:
        language_model: whose decoder layers are changed.
        above: tokens above which feed-forward networks keep their inputs only.
        layers_above: tokens above which layers do.
    """
    layers: Any = language_model.layers
    most = math.inf if layers_above is None else layers_above
    for layer in layers:
        if above is not None:
            layer.mlp.forward = partial(_forward, layer.mlp.forward, above, most)
        if layers_above is not None:
            layer.forward = partial(_forward, layer.forward, layers_above, math.inf)


def recomputed(forward: Callable[..., Tensor], *inputs: Any, **settings: Any) -> Tensor:
    """A call that keeps its inputs only."""
    return cast(Tensor, checkpoint(forward, *inputs, use_reentrant=False, **settings))


def _forward(forward: Callable[..., Tensor], above: float, most: float, hidden: Tensor, **settings: Any) -> Tensor:
    """Recomputed where there are more tokens than `above`, and no more than `most`."""
    if not above < hidden.shape[-2] <= most or not torch.is_grad_enabled():
        return forward(hidden, **settings)
    return recomputed(forward, hidden, **settings)
