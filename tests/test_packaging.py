"""What is installed is what is here, and what is imported is what is declared."""

import ast
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = {"music_flamingo": "src/music_flamingo", **SETUPTOOLS["package-dir"]}
NOT_DECLARED = {
    "tinysoundfont",  # installed by `make setup`, without its requirements
    "triton",  # torch's CUDA builds bring it, and nothing but their tensors needs it
}


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["project"]["dependencies"]]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


def package_folders() -> dict[str, Path]:
    """Import name -> folder of every folder that holds a Python file."""
    found = {}
    for name, place in [item for item in FOLDERS.items() if item[0]]:
        for folder in [ROOT / place, *(path for path in (ROOT / place).rglob("*") if path.is_dir())]:
            if any(folder.glob("*.py")):
                found[".".join([name, *folder.relative_to(ROOT / place).parts])] = folder
    return found


def imported_names() -> set[str]:
    """Top-level names that the package's files import."""
    names: set[str] = set()
    for folder in package_folders().values():
        for path in folder.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add(str(node.module).partition(".")[0])
    return names


def test_every_package_on_disk_is_installed_and_no_other() -> None:
    assert sorted(package_folders()) == sorted(SETUPTOOLS["packages"])


def test_every_file_a_package_needs_is_installed_with_it() -> None:
    folders = {folder: name for name, folder in package_folders().items()}
    listed = {
        path
        for name, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in package_folders()[name].glob(pattern)
    }
    for folder in folders:
        others = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
        assert others <= listed


def test_every_import_is_declared() -> None:
    distributions = packages_distributions()
    third_party = imported_names() - set(sys.stdlib_module_names) - {"music_flamingo"} - NOT_DECLARED
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    optional = PROJECT["project"]["optional-dependencies"]
    extras = {canonicalize_name(Requirement(line).name) for line in [*optional["gpu"], *optional["data"]]}
    for name in third_party:
        names = {canonicalize_name(found) for found in distributions.get(name, [name])}
        assert names & (declared | extras), f"{name} is imported but not declared in pyproject.toml"


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    pins = constraints()
    optional = PROJECT["project"]["optional-dependencies"]
    development = [Requirement(line) for line in [*optional["dev"], *optional["data"]]]
    for requirement in [*requirements(), *development]:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_the_lightning_releases_that_were_malware_cannot_be_installed(version: str) -> None:
    lightning = next(requirement for requirement in requirements() if requirement.name == "lightning")
    assert not lightning.specifier.contains(version)
    assert constraints()["lightning"] != version


def test_torch_is_pinned() -> None:
    assert constraints()["torch"] == "2.13.0"


def test_gpu_packages_are_an_extra() -> None:
    names = {requirement.name for requirement in requirements()}
    assert not names & {"flash-attn", "deepspeed"}
    assert PROJECT["project"]["optional-dependencies"]["gpu"] == ["deepspeed", "flash-attn"]


def test_the_version_is_the_same_everywhere() -> None:
    from music_flamingo import __version__  # noqa: PLC0415

    assert PROJECT["project"]["version"] == __version__


def test_makefile_explains_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE))
    assert {"help", "setup", "demo", "test", "lint", "typecheck", "check", "bench", "clean"} == explained


def test_continuous_integration_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_pre_commit_has_at_most_seven_hooks() -> None:
    import yaml  # noqa: PLC0415

    config: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert sum(len(repository["hooks"]) for repository in config["repos"]) <= 7
