"""Low-rank adapters: a language model's layers stay as they are, and small additions to them are trained.

    y = W x + alpha / rank * B A dropout(x)          A (rank, D), B (D', rank), B = 0 at first

Source: LoRA (arXiv:2106.09685); the layers are those of the library peft. Its names are looked up when they are used:
where peft is imported first, it imports transformers, which imports this file before peft has any.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import peft
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from music_flamingo.errors import UserError

ADAPTER = "default"
"""peft's name of the only adapter of a layer."""


class LoRA:
    """Adapters of a language model's linear layers.

    model: {class_path: music_flamingo.models.TinyMU, init_args: {pretrained: DIR, lora:
    {class_path: music_flamingo.models.LoRA, init_args: {rank: 32, alpha: 128, target_modules: [q_proj, v_proj]}}}}

    Args:
        rank: of an addition.
        alpha: an addition counts `alpha / rank` times.
        target_modules: regular expressions over the names of linear layers in the language model.
        dropout: share of an adapter's inputs left out in training. GRPO leaves none out, as it updates in evaluation
            mode.

    Raises:
        UserError: a rank, alpha or dropout that cannot be.
    """

    def __init__(self, rank: int, alpha: int, target_modules: Sequence[str], dropout: float = 0.0) -> None:
        if rank < 1 or alpha < 1 or not 0 <= dropout < 1:
            raise UserError(
                "model.lora: expected a rank and an alpha of at least 1 and a dropout from 0 to below 1, "
                f"got {rank}, {alpha} and {dropout:g}"
            )
        self.rank = rank
        self.alpha = alpha
        self.target_modules = tuple(target_modules)
        self.dropout = dropout

    def adapt(self, language_model: PreTrainedModel) -> None:
        """Add untrained adapters, which change no output, and freeze all else of the language model.

        Raises:
            UserError: an expression that finds no linear layer.
        """
        targets = self._targets(language_model)
        settings = peft.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets
        )
        peft.inject_adapter_in_model(settings, language_model, ADAPTER)

    def _targets(self, language_model: nn.Module) -> list[str]:
        """Full names of the layers to adapt."""
        names = [name for name, module in language_model.named_modules() if isinstance(module, nn.Linear)]
        for pattern in self.target_modules:
            if not any(re.search(pattern, name) for name in names):
                raise UserError(
                    f"model.lora.target_modules: {pattern!r} matches no linear layer of the language model; "
                    f"names look like {names[0]!r}"
                )
        return [name for name in names if any(re.search(pattern, name) for pattern in self.target_modules)]


def only_adapters_train(network: nn.Module) -> bool:
    """Whether all of a network that trains is adapters, so that without them it is what it was."""
    return all(".lora_" in name for name, each in network.named_parameters() if each.requires_grad)


@contextmanager
def without_adapters(network: nn.Module) -> Iterator[None]:
    """A network as it is without its adapters, where it has some."""
    adapted = [module for module in network.modules() if isinstance(module, peft.tuners.lora.Linear)]
    for module in adapted:
        module.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for module in adapted:
            module.enable_adapters(enabled=True)


@torch.no_grad()
def merged_weights(network: nn.Module, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A network's state under the names it has without adapters, with `W + alpha / rank * B A` in place of `W`.

    Args:
        network: with adapters, or without.
        state: its weights, where they are divided over ranks; None takes its own.
    """
    state = network.state_dict() if state is None else state
    weights = {name.replace(".base_layer.", "."): each for name, each in state.items() if ".lora_" not in name}
    for name, module in network.named_modules():
        if isinstance(module, peft.tuners.lora.Linear):
            down, up = (state[f"{name}.lora_{matrix}.{ADAPTER}.weight"] for matrix in "AB")
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + module.scaling[ADAPTER] * up @ down
    return weights
