"""A class that a recipe names complains in its own words, which jsonargparse would put among those of every type."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from music_flamingo.errors import UserError

Built = TypeVar("Built")


class _Complaint(BaseException):
    """A UserError on its way past jsonargparse, which catches every Exception to try the next type."""

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.error = error


def let_classes_complain(parser: Any) -> None:
    """Have a parser build every class so that its own complaint is the one that `heard` raises."""
    parser.add_instantiator(_build, object, subclasses=True)


@contextmanager
def heard() -> Iterator[None]:
    """Raises what a class complained of that was built inside."""
    try:
        yield
    except _Complaint as complaint:
        raise complaint.error from complaint


def _build(built: type[Built], *args: object, **kwargs: object) -> Built:
    try:
        return built(*args, **kwargs)
    except UserError as error:
        raise _Complaint(error) from error
