"""What strategies share whose ranks hold parts of a model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class DividingStrategy(ABC):
    """Puts divided models together for passes that ranks make unequally often.

    That is so in validation, in tests and in rollouts: ranks have unequally many rows there, and decode unequally many
    tokens. A rank that waits for the others' parts of a layer would then wait for ever.
    """

    keeps_gradients = False
    """Whether only the strategy can change gradients."""
    _is_whole = False

    @abstractmethod
    def divide(self, model: nn.Module) -> None:
        """Leave each rank its part of a model that is whole on all."""

    @abstractmethod
    def put_together(self) -> None:
        """Have all weights on every rank, but those of a reference model, which nobody samples from."""

    @abstractmethod
    def divide_again(self) -> None:
        """Leave each rank its part again; weights must be what they were."""

    @abstractmethod
    def whole_state(self, module: nn.Module) -> dict[str, Tensor]:
        """A module's state on the CPU of the first rank; empty on the others. All ranks call it together."""

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """All weights on every rank, without gradients."""
        if self._is_whole:
            yield
            return
        self._begin()
        try:
            yield
        finally:
            self._end()

    def on_validation_start(self) -> None:
        self._begin()

    def on_validation_end(self) -> None:
        self._end()

    def on_test_start(self) -> None:
        self._begin()

    def on_test_end(self) -> None:
        self._end()

    def on_predict_start(self) -> None:
        self._begin()

    def on_predict_end(self) -> None:
        self._end()

    def _begin(self) -> None:
        self.put_together()
        self._is_whole = True

    def _end(self) -> None:
        self.divide_again()
        self._is_whole = False
