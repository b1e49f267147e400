"""How settings nest: mappings, lists, and classes with settings of their own, at keys such as `model.lr`.

Nothing here changes what it is given; each function returns a new tree.
"""

from collections.abc import Iterator
from typing import Any

from music_flamingo.errors import UserError

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")

Key = tuple[str | int, ...]


def merge(below: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`overlay` laid over `below`.

    Mappings merge, everything else replaces. Where the overlay names another class, nothing below it stays,
    as the settings belonged to the class that went.
    """
    if _names_another_class(below, overlay):
        return overlay
    merged = dict(below)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def set_key(content: Any, key: Key, value: object, *, append: bool = False) -> Any:
    """`content` with the setting at `key` set to `value`, or with `value` appended to the list there.

    Raises:
        UserError: the key leads through a plain value, or to a place in a list that is not there.
    """
    if not key:
        return _appended(content, value) if append else _replaced(content, value)
    step, rest = key[0], key[1:]
    if isinstance(content, list):
        if not isinstance(step, int) or step >= len(content):
            raise UserError(f"expected a place from 0 to {len(content) - 1} in the list, got {step}")
        return [*content[:step], set_key(content[step], rest, value, append=append), *content[step + 1 :]]
    block = _as_block(content)
    if step == "class_path" and block.get("class_path", value) != value:
        return {"class_path": value}
    return {**block, step: set_key(block.get(step), rest, value, append=append)}


def full_key(content: Any, key: Key) -> Key:
    """The key with the `init_args` that may be left out: `model.freeze` is `model.init_args.freeze`."""
    full: list[str | int] = []
    for step in key:
        if is_class(content) and step not in CLASS_KEYS:
            full.append("init_args")
            content = content.get("init_args") if isinstance(content, dict) else None
        full.append(step)
        content = content[step] if _has(content, step) else None
    return tuple(full)


def holds(content: Any, key: Key) -> bool:
    """Whether the tree says anything at `key`."""
    for step in key:
        if not _has(content, step):
            return False
        content = content[step]
    return True


def walk(content: object, key: Key = ()) -> Iterator[tuple[Key, object]]:
    """Every block and value with its key, outermost first."""
    yield key, content
    if isinstance(content, dict):
        for name, value in content.items():
            yield from walk(value, (*key, name))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from walk(value, (*key, place))


def parse_key(text: str) -> Key:
    """`trainer.callbacks.0.monitor` as its steps; whole numbers are places in a list."""
    return tuple(int(step) if step.isdecimal() else step for step in text.split("."))


def show_key(key: Key) -> str:
    """The key as it is written on the command line."""
    return ".".join(str(step) for step in key)


def is_dotted(text: str) -> bool:
    """Whether the text has the form of an import path, `package.module.Name`."""
    steps = text.split(".")
    return len(steps) > 1 and all(step.isidentifier() for step in steps)


def is_class(content: object) -> bool:
    """Whether this part of a tree stands for a class: a block with `class_path`, or the bare import path."""
    if isinstance(content, dict):
        return "class_path" in content
    return isinstance(content, str) and is_dotted(content)


def _as_block(content: object) -> dict[str | int, Any]:
    if content is None:
        return {}
    if isinstance(content, str) and is_dotted(content):
        return {"class_path": content}
    if not isinstance(content, dict):
        raise UserError(f"the key leads through the plain value {content!r}: set that one itself")
    return content


def _replaced(old: object, value: object) -> object:
    # A name such as `auto` stands for itself.
    if isinstance(old, dict) and "class_path" in old and isinstance(value, str) and is_dotted(value):
        return old if old["class_path"] == value else {"class_path": value}
    return value


def _appended(old: object, value: object) -> list[object]:
    entries = value if isinstance(value, list) else [value]
    classes = [{"class_path": entry} if isinstance(entry, str) and is_dotted(entry) else entry for entry in entries]
    return [*(old if isinstance(old, list) else []), *classes]


def _names_another_class(below: dict[str, Any], overlay: dict[str, Any]) -> bool:
    return "class_path" in below and overlay.get("class_path", below["class_path"]) != below["class_path"]


def _has(content: Any, step: str | int) -> bool:
    if isinstance(content, list):
        return isinstance(step, int) and step < len(content)
    return isinstance(content, dict) and step in content
