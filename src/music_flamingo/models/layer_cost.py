"""FLOPs of stacks of transformer layers, forward."""

from collections.abc import Sequence
from typing import Any

from music_flamingo.models.cost_model import Workload


def encoder_layers_flops(lengths: Sequence[int], *, layers: int, width: int, inner: int) -> float:
    """Of layers in which every token sees all others of its sequence: four square projections and two more matrices.

    Args:
        lengths: tokens of each sequence.
        layers: how many.
        width: of a token.
        inner: width between the two matrices.
    """
    token = 2 * width * (4 * width + 2 * inner)
    return float(layers * sum(length * (token + 4 * width * length) for length in lengths))


def encoder_flops(config: Any, lengths: Sequence[int]) -> float:
    """The same, given transformers' sizes of such an encoder."""
    return encoder_layers_flops(
        lengths, layers=config.num_hidden_layers, width=config.hidden_size, inner=config.intermediate_size
    )


class DecoderCost:
    """Of a language model of Llama's kind, with grouped keys and a gated network, and its head.

    Args:
        config: transformers' sizes of it.
        selects_rows: whether the last layer is computed for tokens that are read alone; see `last_layer.py`.
    """

    def __init__(self, config: Any, *, selects_rows: bool) -> None:
        width: int = config.hidden_size
        head_dim: int = getattr(config, "head_dim", None) or width // config.num_attention_heads
        attended: int = head_dim * config.num_attention_heads
        kept: int = head_dim * config.num_key_value_heads
        self._selects_rows = selects_rows
        self._layers: int = config.num_hidden_layers
        self._key_and_value = 2 * width * 2 * kept
        self._all_else: int = 2 * width * (2 * attended + 3 * config.intermediate_size)
        self._seen_token = 4 * attended
        self._target: int = 2 * width * config.vocab_size

    def flops(self, work: Workload) -> float:
        """What the tokens of a row cost."""
        full_layer = self._layer(work, work.tokens, work.seen_tokens)
        last_layer = self._layer(work, work.read_tokens, work.seen_by_read_tokens) if self._selects_rows else full_layer
        return (self._layers - 1) * full_layer + last_layer + work.targets * self._target

    def _layer(self, work: Workload, tokens: int, seen: int) -> float:
        """Of a layer with all keys and values, and so many tokens that see something."""
        return work.tokens * self._key_and_value + tokens * self._all_else + seen * self._seen_token
