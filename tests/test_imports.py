"""What holds for every file of the package."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

from music_flamingo.kernels.triton_device import HAS_TRITON

Node = TypeVar("Node", bound=ast.AST)
ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "src" / "music_flamingo", ROOT / "data_modules", ROOT / "callbacks"]
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core"}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
NO_NETWORK = """
import importlib, socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network was used at import")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def module_name(path: Path) -> str:
    top = "src" if path.is_relative_to(ROOT / "src") else "."
    parts = list(path.relative_to(ROOT / top).with_suffix("").parts)
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return name if top == "src" else f"music_flamingo.{name}"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(kind: type[Node]) -> list[tuple[str, Node]]:
    """Every node of a kind in the package, with its file and line."""
    found = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, kind)]
    return [(f"{relative(path)}:{getattr(node, 'lineno', 0)}", node) for path, node in found]


def test_every_module_imports_without_the_network() -> None:
    names = [module_name(path) for path in FILES if HAS_TRITON or not path.stem.endswith("_triton")]
    done = subprocess.run([sys.executable, "-c", NO_NETWORK, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kernels_import_without_triton() -> None:
    names = [module_name(path) for path in FILES if path.parent.name == "kernels" and "_triton" not in path.stem]
    hide_and_import = "import sys; sys.modules['triton'] = None\n" + NO_NETWORK
    done = subprocess.run([sys.executable, "-c", hide_and_import, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_triton_kernels_import_triton() -> None:
    importing = [path for path in FILES if re.search(r"^\s*(?:import|from) triton\b", path.read_text(), re.MULTILINE)]
    assert importing
    assert [relative(path) for path in importing if not path.stem.endswith("_triton")] == []


def test_everything_public_has_a_docstring() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    missing = [relative(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    for path, tree in TREES.items():
        public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
        missing += [f"{relative(path)}: {node.name}" for node in public if not ast.get_docstring(node)]
    assert missing == []


def test_a_file_is_named_after_its_question() -> None:
    assert [relative(path) for path in FILES if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_mistakes_are_raised_and_never_asserted() -> None:
    assert nodes(ast.Assert) == []


def test_no_except_swallows_everything() -> None:
    handlers = [(where, ast.unparse(node.type) if node.type else "") for where, node in nodes(ast.ExceptHandler)]
    assert [where for where, caught in handlers if caught in {"", "Exception", "BaseException"}] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\s*(?:import|from) (?:pickle|dill|cloudpickle|joblib|shelve|marshal)\b",
        r"(?:trust_remote_code|allow_pickle) ?= ?True",
        r"weights_only ?= ?False",
        r"\byaml\.(?:load|unsafe_load|full_load)\(",
        r"\btorch\.load\((?!.*weights_only=True)",
    ],
)
def test_no_file_of_a_stranger_can_run_code(pattern: str) -> None:
    found = re.compile(pattern, re.MULTILINE)
    hits = {relative(path): found.findall(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: hit for path, hit in hits.items() if hit} == {}


@pytest.mark.parametrize("path", RECIPES, ids=relative)
def test_recipes_name_classes_by_their_import_path(path: Path) -> None:
    named = re.findall(r"class_path:\s*['\"]?([\w.]+)", path.read_text())
    assert {name.partition(".")[0] for name in named} <= {
        "music_flamingo",
        "torch",
        "lightning",
        "lhotse",
        "transformers",
    }
