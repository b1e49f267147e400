"""What does the command line ask of a training verb? Its words, sorted into files and settings."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from music_flamingo.errors import UserError
from music_flamingo.recipe import Override

FLAGS = ("--print_config", "--test", "--profile", "--fresh")


@dataclass(frozen=True)
class Invocation:
    """What followed the verb on the command line.

    `test` asks for a test right after the fit, `profile` for where a step's time goes in its place, `fresh` for a fit
    that does not go on from a checkpoint.
    """

    configs: tuple[Path, ...]
    overrides: tuple[Override, ...]
    print_config: bool = False
    test: bool = False
    profile: bool = False
    fresh: bool = False

    def repeat(self) -> str:
        """The arguments as they can be typed again, without the checkpoint, which is this call's own."""
        return shlex.join(self.words())

    def words(self) -> list[str]:
        """The arguments one by one, likewise."""
        configs = [word for path in self.configs for word in ("--config", str(path))]
        settings = [
            f"--{override.key}{'+' if override.append else ''}={override.text}"
            for override in self.overrides
            if override.key != "ckpt_path"
        ]
        return [*configs, *settings]


def parse_invocation(arguments: Sequence[str]) -> Invocation:
    """Sort arguments into recipe files and overrides.

    Raises:
        UserError: a word that is neither, or a key without its value.
    """
    configs: list[Path] = []
    overrides: list[Override] = []
    rest = [word for word in arguments if word not in FLAGS]
    while rest:
        key, value = _key_and_value(rest.pop(0), rest)
        if key == "config":
            configs.append(Path(value))
        else:
            overrides.append(Override(key.removesuffix("+"), value, append=key.endswith("+")))
    return Invocation(tuple(configs), tuple(overrides), *(flag in arguments for flag in FLAGS))


def _key_and_value(word: str, rest: list[str]) -> tuple[str, str]:
    """The key of `--key=value` or `--key value` and its value, which is taken from `rest` when it follows."""
    if word == "-c" or word.startswith("-c="):
        word = "--config" + word[2:]
    if not word.startswith("--") or word == "--":
        raise UserError(f"expected --config FILE or --key value, got {word!r}")
    key, given, value = word[2:].partition("=")
    if given:
        return key, value
    if not rest or rest[0].startswith("--"):
        raise UserError(f"--{key} has no value: write --{key} VALUE")
    return key, rest.pop(0)
