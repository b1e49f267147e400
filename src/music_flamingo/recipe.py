"""What does a recipe say? Files and overrides merged into one, before anything is built from it.

Files are read in order, each laid over the one before; overrides from the command line come last. Mappings
merge key by key, lists and plain values replace. Where an overlay names another `class_path`, the settings
of the class below it go, as they belong to that class. Only then are `${...}` references resolved, so that
they reach across files and follow overrides.

The top-level blocks `run` and `vars` exist to be referred to. They are not settings of anything and are
left out of what is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from music_flamingo.errors import UserError
from music_flamingo.recipe_tree import Key, full_key, holds, merge, parse_key, set_key

COMMAND_LINE = "command line"
BLOCKS_FOR_REFERENCE = ("run", "vars")


@dataclass(frozen=True)
class Source:
    """One recipe file and what it says before merging."""

    name: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Override:
    """`--key value` of the command line; `append` for `--key+=value`."""

    key: str
    text: str
    append: bool = False


@dataclass(frozen=True)
class Recipe:
    """A merged recipe whose references are not yet resolved, and where its parts came from."""

    sources: tuple[Source, ...]
    overridden: frozenset[Key]
    merged: dict[str, Any]

    def resolved(self) -> dict[str, Any]:
        """Every setting with its references filled in, `run` and `vars` included.

        Raises:
            UserError: a reference leads nowhere, or a value that has to be given (`???`) was not.
        """
        try:
            container = OmegaConf.to_container(OmegaConf.create(self.merged), resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(self._why_unresolved(error)) from error
        return _mapping(container)

    def settings(self) -> dict[str, Any]:
        """The resolved recipe without the blocks that only exist to be referred to."""
        return {key: value for key, value in self.resolved().items() if key not in BLOCKS_FOR_REFERENCE}

    def origin(self, key: Key) -> str:
        """Where `key`, or else the nearest block above it, was set last: a file or the command line."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.overridden:
                return COMMAND_LINE
            for source in reversed(self.sources):
                if holds(source.content, key[:length]):
                    return source.name
            if any(given[:length] == key[:length] for given in self.overridden):
                return COMMAND_LINE
        return self.sources[0].name if self.sources else COMMAND_LINE

    def to_yaml(self) -> str:
        """The merged recipe with its references as written, which `--config` reads again."""
        return OmegaConf.to_yaml(OmegaConf.create(self.merged))

    def _why_unresolved(self, error: OmegaConfBaseException) -> str:
        name = str(error.full_key or "").replace("[", ".").replace("]", "")
        origin = self.origin(parse_key(name))
        if isinstance(error, MissingMandatoryValue):
            return f"{origin}: {name} has to be given (it is ??? in the recipe): add --{name} VALUE"
        reason = _first_line(error)
        remedy = "; define it in the recipe or on the command line"
        return f"{origin}: {name}: {reason}{remedy if isinstance(error, InterpolationResolutionError) else ''}"


def read_recipe(paths: Sequence[Path], overrides: Sequence[Override] = ()) -> Recipe:
    """Merge recipe files, then overrides.

    Raises:
        UserError: a file cannot be read, two files are recipes of different training stages, or an override
            is malformed.
    """
    sources = [Source(str(path), read_file(path)) for path in paths]
    _refuse_two_training_stages(sources)
    merged: dict[str, Any] = {}
    for source in sources:
        merged = merge(merged, source.content)
    overridden = set()
    for override in overrides:
        key = full_key(merged, parse_key(override.key))
        merged = _apply(override, key, merged)
        overridden.add(key)
    return Recipe(tuple(sources), frozenset(overridden), merged)


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, references unresolved.

    Raises:
        UserError: the file is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        container = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "expected YAML text with one setting per line"
        raise UserError(f"{path}: cannot read this recipe: {reason}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_line_of(error)}: not YAML: {_first_line(error)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {error.full_key}: {_first_line(error)}") from error
    if not isinstance(container, dict):
        raise UserError(f"{path}: expected settings such as `model:` and `trainer:`, found a list")
    return _mapping(container)


def _apply(override: Override, key: Key, merged: dict[str, Any]) -> dict[str, Any]:
    value = _parse_value(override)
    try:
        return dict(set_key(merged, key, value, append=override.append))
    except UserError as error:
        raise UserError(f"{COMMAND_LINE}: --{override.key}: {error}") from error


def _parse_value(override: Override) -> object:
    try:
        container = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={override.text}"]), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{COMMAND_LINE}: --{override.key}: cannot read {override.text!r} as YAML: {_first_line(error)}"
        ) from error
    return _mapping(container)["value"]


def _refuse_two_training_stages(sources: Sequence[Source]) -> None:
    named = [(source.name, source.content["model"]["class_path"]) for source in sources if _names_model(source)]
    for name, class_path in named:
        first_name, first_class_path = named[0]
        if class_path != first_class_path:
            raise UserError(
                f"{name}: model.class_path is {class_path}, but {first_name} trains {first_class_path}: "
                "give the recipe of one training stage, and overlays that leave the class alone"
            )


def _names_model(source: Source) -> bool:
    return holds(source.content, ("model", "class_path"))


def _mapping(container: object) -> dict[str, Any]:
    """The top level of what OmegaConf returns, whose type is that of anything YAML can hold."""
    return {str(key): value for key, value in container.items()} if isinstance(container, dict) else {}


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _first_line(error: Exception) -> str:
    reason = getattr(error, "problem", None) or str(error)
    return reason.strip().splitlines()[0]
