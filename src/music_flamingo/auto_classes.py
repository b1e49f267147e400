"""Makes transformers' Auto classes know our models, whether transformers is imported before us or after us.

Importing models takes seconds, so it waits until somebody imports transformers: help and data verbs never do. A post
import hook by a library (wrapt) would cost each of them another tenth of a second.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

TRANSFORMERS = "transformers"
MODELS = "music_flamingo.models"
"""Registers its models when it is imported."""


def register_once_transformers_is_imported() -> None:
    """Register now where transformers is there already, or right after it is imported."""
    if TRANSFORMERS in sys.modules:
        importlib.import_module(MODELS)
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds transformers as others do, and lets its loader register our models too."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TRANSFORMERS:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                importlib.import_module(MODELS)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
