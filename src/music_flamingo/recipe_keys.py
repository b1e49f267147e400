"""Does every key of a recipe mean something? Keys held against the typed signatures they are for.

Jsonargparse then checks values against the same signatures; this only sees to it that a misspelt key is
named with its file and the nearest known one, and that a recipe can only name classes of the packages it is
meant to configure.
"""

import difflib
import importlib
import inspect
import os
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from music_flamingo.errors import UserError
from music_flamingo.recipe import Recipe
from music_flamingo.recipe_tree import CLASS_KEYS, Key, is_dotted, show_key

ALLOWED_PACKAGES = ("music_flamingo", "torch", "lightning", "lhotse", "transformers")
PLAIN_TYPES = (Any, str, int, float, bool, bytes, Path, os.PathLike, type(None), list, dict, tuple, set)


class KeyCheck:
    """Walks a recipe beside the signatures it configures; raises `UserError` at the first key that fits none.

    Args:
        recipe: says which file a key came from.
        allowed: packages whose classes a recipe may name.
    """

    def __init__(self, recipe: Recipe, allowed: Sequence[str] = ALLOWED_PACKAGES) -> None:
        self.recipe = recipe
        self.allowed = tuple(allowed)

    def keys(self, content: Mapping[str, Any], key: Key, known: Mapping[str, Any], owner: str) -> None:
        """Check a block whose keys are the names in `known`, and everything below it.

        Args:
            content: the block.
            key: where it is; () for the whole recipe.
            known: name -> annotation.
            owner: whose settings they are, for the message.
        """
        for name, value in content.items():
            if name not in known:
                raise self._unknown((*key, str(name)), known, owner)
            self.value(value, (*key, str(name)), known[name])

    def value(self, content: Any, key: Key, annotation: Any = Any) -> None:
        """Check one value and everything below it; `annotation` is what its place in the signature takes."""
        if isinstance(content, dict) and "class_path" in content:
            self._class(content, key)
        elif isinstance(content, dict):
            self._mapping(content, key, annotation)
        elif isinstance(content, list):
            for place, entry in enumerate(content):
                self.value(entry, (*key, place), annotation)
        elif isinstance(content, str) and "." in content and takes_objects(annotation):
            self._find_class(content, key)

    def _mapping(self, content: Mapping[str, Any], key: Key, annotation: Any) -> None:
        dataclass = next((part for part in _parts(annotation) if is_dataclass(part)), None)
        if dataclass is not None and isinstance(dataclass, type):
            self.keys(content, key, _hints(dataclass), dataclass.__name__)
            return
        for name, value in content.items():
            self.value(value, (*key, name), annotation)

    def _class(self, content: Mapping[str, Any], key: Key) -> None:
        built = self._find_class(content["class_path"], (*key, "class_path"))
        known = settings_of(built)
        for name in content:
            if name not in CLASS_KEYS:
                where = f"{self.recipe.origin((*key, name))}: unknown key {show_key((*key, name))}"
                raise UserError(f"{where}: settings of {built.__name__} are written under init_args")
        settings = content.get("init_args") or {}
        if not isinstance(settings, dict):
            raise UserError(
                f"{self.recipe.origin(key)}: {show_key(key)}.init_args: expected settings, got {settings!r}"
            )
        self.keys(settings, (*key, "init_args"), known, built.__name__)
        self.value(content.get("dict_kwargs"), (*key, "dict_kwargs"))

    def _find_class(self, class_path: Any, key: Key) -> Callable[..., Any]:
        where = f"{self.recipe.origin(key)}: {show_key(key)}"
        if not isinstance(class_path, str) or not is_dotted(class_path):
            raise UserError(f"{where}: expected a full import path such as torch.optim.AdamW, got {class_path!r}")
        package = class_path.partition(".")[0]
        if package in ("data_modules", "callbacks"):
            raise UserError(f"{where}: {class_path} is imported as music_flamingo.{class_path}: write that")
        if package not in self.allowed:
            raise UserError(f"{where}: {class_path}: a recipe may only name classes of {', '.join(self.allowed)}")
        return _import_class(class_path, where)

    def _unknown(self, key: Key, known: Collection[str], owner: str) -> UserError:
        nearest = difflib.get_close_matches(str(key[-1]), list(known), n=1, cutoff=0.5)
        remedy = f"did you mean {show_key((*key[:-1], nearest[0]))}?" if nearest else f"known: {', '.join(known)}"
        return UserError(
            f"{self.recipe.origin(key)}: unknown key {show_key(key)}: {owner} has no such setting; {remedy}"
        )


def settings_of(built: Callable[..., Any]) -> dict[str, Any]:
    """Name -> annotation of all that a class or function takes by name, `**kwargs` followed."""
    parser = ArgumentParser(exit_on_error=False)
    if inspect.isclass(built):
        added = parser.add_class_arguments(built, "settings", fail_untyped=False)
    else:
        added = parser.add_function_arguments(built, "settings", fail_untyped=False)
    hints: dict[str, Any] = {}
    for owner in reversed(inspect.getmro(built)) if inspect.isclass(built) else (built,):
        hints.update(_hints(getattr(owner, "__init__", owner) if inspect.isclass(owner) else owner))
    names = [name.split(".")[1] for name in added]
    return {name: hints.get(name, Any) for name in names}


def takes_objects(annotation: Any) -> bool:
    """Whether a text in this place may name a class to import, as jsonargparse reads it."""
    parts = _parts(annotation)
    return any(part is Callable or (isinstance(part, type) and part not in PLAIN_TYPES) for part in parts)


def _parts(annotation: Any) -> list[Any]:
    """The types an annotation is made of; of a callable only that it is one."""
    if annotation is Callable or get_origin(annotation) is Callable:
        return [Callable]
    arguments = get_args(annotation)
    return [part for argument in arguments for part in _parts(argument)] if arguments else [annotation]


def _hints(owner: object) -> dict[str, Any]:
    try:
        return get_type_hints(owner)
    except (
        NameError,
        TypeError,
    ):  # names imported for type checkers only: jsonargparse still checks the values
        return {}


def _import_class(class_path: str, where: str) -> Callable[..., Any]:
    module_name, _, name = class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise UserError(f"{where}: there is no module {error.name}") from error
        raise UserError(f"{where}: {class_path} needs {error.name}, which is not installed") from error
    found = getattr(module, name, None)
    if not callable(found) or isinstance(found, types.ModuleType):
        nearest = difflib.get_close_matches(name, dir(module), n=1)
        remedy = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UserError(f"{where}: {module_name} has no class {name}{remedy}")
    return cast(Callable[..., Any], found)
