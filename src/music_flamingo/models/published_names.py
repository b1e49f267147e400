"""What the names of a published checkpoint's tensors say."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from music_flamingo.errors import UserError

NAMED = 5
"""Names that a message holds."""


def first_names(names: Iterable[object]) -> str:
    """Some names for a message, on one line whatever a file calls its tensors, and how many more there are."""
    listed = [text if text.isprintable() else ascii(text) for text in map(str, names)]
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")


def below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}


def without_aliases(published: Mapping[str, Tensor], canonical: Callable[[str], str]) -> dict[str, Tensor]:
    """Each tensor under one name.

    Args:
        published: tensors, of which some stand under several names.
        canonical: the name of a tensor that may have others.

    Raises:
        UserError: what should be one tensor is two.
    """
    once: dict[str, Tensor] = {}
    for name, tensor in published.items():
        other = once.setdefault(canonical(name), tensor)
        if other is not tensor and not torch.equal(other, tensor):
            raise UserError(
                f"expected {name} to hold the numbers of {canonical(name)}, got others: they are one tensor in the "
                "published code; give another file"
            )
    return once


def thirds(name: str, tensor: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of a tensor that holds them below one another.

    Raises:
        UserError: its rows are not three times as many.
    """
    if not tensor.ndim or len(tensor) % 3:
        raise UserError(
            f"expected {first_names([name])} with queries, keys and values, got the shape {tuple(tensor.shape)}"
        )
    return tensor.chunk(3)
