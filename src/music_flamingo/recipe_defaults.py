"""What does a class take where the recipe is silent? Its own defaults, never those of the class it replaced.

Where a signature says `optimizer: OptimizerCallable = torch.optim.AdamW` and the recipe names SGD,
jsonargparse 4.53 starts from AdamW's settings and keeps all that SGD knows too: SGD then runs with AdamW's
weight decay of 0.01, and nothing says so. Writing out the new class's own defaults for the settings both know
is what prevents it.
"""

import importlib
import inspect
from typing import Any


def with_own_defaults(content: Any) -> Any:
    """The tree with those defaults written out that would otherwise come from another class.

    Empty `init_args:` go, as a recipe has them whose settings are all commented out.

    Args:
        content: settings whose class paths have passed `KeyCheck`.
    """
    if isinstance(content, list):
        return [with_own_defaults(entry) for entry in content]
    if not isinstance(content, dict):
        return content
    given = {name: value for name, value in content.items() if (name, value) != ("init_args", None)}
    filled = {name: with_own_defaults(value) for name, value in given.items()}
    if "class_path" in filled and isinstance(filled.get("init_args"), dict):
        filled["init_args"] = _below(filled["class_path"], filled["init_args"])
    return filled


def _below(class_path: str, init_args: dict[str, Any]) -> dict[str, Any]:
    """The settings of a class, each class among them with its own defaults."""
    replaced = {name: default for name, default in _defaults(class_path).items() if inspect.isclass(default)}
    return {name: _filled(value, replaced[name]) if name in replaced else value for name, value in init_args.items()}


def _filled(value: Any, replaced: type) -> Any:
    block = {"class_path": value} if isinstance(value, str) else value
    if not isinstance(block, dict) or "class_path" not in block:
        return value
    shared = inspect.signature(replaced).parameters.keys()
    own = {name: default for name, default in _defaults(block["class_path"]).items() if name in shared}
    return {**block, "init_args": {**own, **(block.get("init_args") or {})}}


def _defaults(class_path: str) -> dict[str, Any]:
    module, _, name = class_path.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}
