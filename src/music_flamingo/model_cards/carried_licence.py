"""Which licence do weights have? That of the weights they were trained from, as these state it.

A Hugging Face directory states it in the metadata of its `README.md`, with its text in files beside it. What is made of
several directories has a licence of its own only where all state the same one.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load

CARD = "README.md"
LICENCE_KEYS = ("license", "license_name", "license_link")
FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Start:
    """A directory whose weights were started from.

    Attributes:
        directory: as it was given.
        licence: of `LICENCE_KEYS`, those that its card states.
        base_models: that its card names.
        problem: why its card could not be read, if it could not.
    """

    directory: str
    licence: dict[str, Any] = field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """The licence as a reader knows it."""
        return " and ".join(_texts(self.licence.get("license_name") or self.licence.get("license"))) or NOT_STATED


def read_start(directory: str | Path) -> Start:
    """What a directory states; a card that cannot be read states nothing."""
    path = Path(directory) / CARD
    if not path.is_file():
        return Start(str(directory))
    try:
        metadata = metadata_load(path) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        return Start(str(directory), problem=f"{CARD} cannot be read ({type(error).__name__})")
    licence = {key: metadata[key] for key in LICENCE_KEYS if _texts(metadata.get(key))}
    return Start(str(directory), licence, tuple(_texts(metadata.get("base_model"))))


def carried_metadata(starts: Sequence[Start]) -> dict[str, Any]:
    """Licence and base models of what was made of these, as a model card's metadata; a key less for what none states.

    Where several do not state the same licence, it is called by the names of all.
    """
    licences = [start.licence for start in starts]
    if all(licence == licences[0] for licence in licences):
        licence = dict(licences[0]) if licences else {}
    else:
        licence = {"license": "other", "license_name": " and ".join(dict.fromkeys(start.name for start in starts))}
    base_models = list(dict.fromkeys(chain.from_iterable(start.base_models for start in starts)))
    return {**licence, **({"base_model": base_models} if base_models else {})}


def copy_licence_files(starts: Iterable[Start], folder: Path) -> list[str]:
    """Copy the texts of licences and notices; a name that another text has already gets a number.

    Returns:
        The names of the copies.
    """
    copied: dict[str, bytes] = {}
    for start in starts:
        for path in sorted({path for pattern in FILES for path in Path(start.directory).glob(pattern)}):
            if not path.is_file() or path.read_bytes() in copied.values():
                continue
            names = chain([path.name], (f"{path.stem}-{number}{path.suffix}" for number in count(2)))
            name = next(name for name in names if name not in copied)
            copied[name] = path.read_bytes()
            shutil.copyfile(path, folder / name)
    return list(copied)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each.strip() for each in values if isinstance(each, str) and each.strip()]
