"""Choosing parameters by name pattern, and keeping frozen modules in evaluation mode."""

import re
from collections.abc import Sequence

from torch import nn

from music_flamingo.errors import UserError


def freeze_parameters(module: nn.Module, patterns: Sequence[str]) -> None:
    """Stop gradients of every parameter whose name a regular expression of `patterns` finds.

    Raises:
        UserError: an expression that finds no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise UserError(f"freeze: {pattern!r} matches no parameter; names look like {names[0]!r}")
    for name, parameter in module.named_parameters():
        if any(re.search(pattern, name) for pattern in patterns):
            parameter.requires_grad_(False)


def evaluate_frozen_modules(module: nn.Module) -> None:
    """Put modules without a trainable parameter in evaluation mode.

    No dropout, no moving statistics in what is frozen.
    """
    for child in module.modules():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            child.eval()
