"""What a model that hears by cross-attention is told: the audio of its texts, and which text hears which of it."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

KeyValue = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(..., D) audio tokens -> (..., H, D') keys, and values of the same shape."""


class HeardAudio(Protocol):
    """Cross-attention of some texts to their audio."""

    @property
    def is_heard(self) -> Tensor | None:
        """(B, N) bool, which tokens of text have audio to hear; None for all."""
        ...

    def __call__(self, layer: int, query: Tensor, key_value: KeyValue) -> Tensor:
        """(B, N, H, D') what queries (B, N, H, D') of text hear in a layer; anything where there is no audio."""
        ...


class HeardRow(HeardAudio, Protocol):
    """That of a packed row.

    Attributes:
        features: (A, D) audio tokens of all windows.
        rows_of_song: of each root (K,) those of `features` that it hears; empty for a text without audio.
    """

    features: Tensor
    rows_of_song: list[Tensor]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(1, N, H, D') queries over keys and values (A, H, D') of `features` -> (1, N, H, D')."""
        ...
