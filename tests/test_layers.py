"""Imports point down only. `make lint` checks this too; here it is read from the files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = {"data_modules": ROOT / "data_modules", "callbacks": ROOT / "callbacks"}
PURE = ("losses", "rewards", "kernels")
MODELS = ("models", "rollout")
LIGHTNING = ("stages", "data_modules", "callbacks")
ABOVE = {
    **{name: (*MODELS, "corpora", "evaluation", *LIGHTNING, "cli", "trainer_cli") for name in PURE},
    **{name: ("corpora", "evaluation", *LIGHTNING, "cli", "trainer_cli") for name in MODELS},
    "corpora": (*LIGHTNING, "evaluation", "cli", "trainer_cli"),
    **{name: ("cli", "trainer_cli") for name in (*LIGHTNING, "evaluation")},
}


def imports_of(layer: str) -> set[str]:
    """Second part of every `music_flamingo.X...` that the layer's files import."""
    found = set()
    for path in (PLACES.get(layer) or ROOT / "src" / "music_flamingo" / layer).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("music_flamingo.")}
    return found


@pytest.mark.parametrize("layer", list(ABOVE))
def test_a_layer_imports_nothing_above_it(layer: str) -> None:
    assert not imports_of(layer) & set(ABOVE[layer])


@pytest.mark.parametrize("contract", ["batch", "errors", "think_tags"])
def test_contracts_import_no_layer(contract: str) -> None:
    tree = ast.parse((ROOT / "src" / "music_flamingo" / f"{contract}.py").read_text(encoding="utf-8"))
    modules = [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    allowed = ("music_flamingo.batch", "music_flamingo.errors", "music_flamingo.think_tags")
    assert all(module in allowed for module in modules if module.startswith("music_flamingo"))


def test_the_top_level_folders_are_never_imported_by_their_own_name() -> None:
    for folder in (ROOT / "src", ROOT / "data_modules", ROOT / "callbacks", ROOT / "tests"):
        for path in folder.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not any(f"\nfrom {name}" in text or f"\nimport {name}" in text for name in PLACES), path
