"""Nested plain values and tensors as JSON with the tensors beside it, and back.

A checkpoint is such a structure: weights, the optimizer's moments, where loops, callbacks and data are. JSON has
neither tuples nor keys other than strings nor infinities: those are written as objects of one key that begins with `$`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from music_flamingo.errors import UserError

Place = tuple[str, ...]


class Elsewhere(NamedTuple):
    """A tensor that another rank writes."""


def as_json(value: object, place: Place = ()) -> Any:
    """The structure with a reference in place of each tensor.

    Raises:
        UserError: a value that is neither plain nor a tensor.
    """
    if isinstance(value, Tensor | Elsewhere):
        return {"$tensor": tensor_name(place)}
    if isinstance(value, Mapping):
        items = [(key, as_json(each, (*place, str(key)))) for key, each in value.items()]
        if all(type(key) is str and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$items": [[as_json(key, place), each] for key, each in items]}
    if isinstance(value, list | tuple):
        entries = [as_json(each, (*place, str(number))) for number, each in enumerate(value)]
        return {"$tuple": entries} if isinstance(value, tuple) else entries
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(
        f"checkpoint: expected plain values and tensors, got {type(value).__name__} at {tensor_name(place)}: give "
        "state_dict() of what stands there lists, dicts, numbers, text and tensors"
    )


def from_json(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """The structure again, each tensor as the function gives it for its name."""
    if isinstance(value, list):
        return [from_json(each, tensor) for each in value]
    if not isinstance(value, dict):
        return value
    read: dict[str, Callable[[Any], Any]] = {
        "$tensor": tensor,
        "$items": lambda items: {from_json(key, tensor): from_json(each, tensor) for key, each in items},
        "$tuple": lambda entries: tuple(from_json(each, tensor) for each in entries),
        "$float": float,
    }
    key = next(iter(value), "")
    return read[key](value[key]) if key in read else {name: from_json(each, tensor) for name, each in value.items()}


def tensors_of(value: object, place: Place = ()) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a structure, by the names that `as_json` refers to them by."""
    if isinstance(value, Tensor):
        yield tensor_name(place), value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from tensors_of(each, (*place, str(key)))
    elif isinstance(value, list | tuple) and not isinstance(value, Elsewhere):
        for number, each in enumerate(value):
            yield from tensors_of(each, (*place, str(number)))


def tensor_name(place: Place) -> str:
    """Of a tensor by its place, such as `optimizer_states/0/state/17/exp_avg`."""
    return "/".join(place)
