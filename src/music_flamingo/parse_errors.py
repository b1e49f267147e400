"""What jsonargparse says over many indented lines, said in one."""

import re

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_EXPECTED = re.compile(r"Expected (?!a path but|a dot import)(?:an? )?(.+?)(?:\. Got value|\n|$)")
_SUBCLASS = re.compile(r"does not correspond to a (subclass of \w+)")
_REQUIRED = re.compile(r"class_path '(?:\w+\.)*(\w+)':\s+the following arguments are required: ([^\n]+)")
_GOT = re.compile(r"(?:Got|Given) value: (.+?)(?:\. Got value|\n|$)")
MAX_LENGTH = 300


def failed_key(message: str) -> tuple[str, ...]:
    """The path to the setting that does not fit, without `init_args`; () when none is named."""
    return tuple(step for key in _KEY.findall(message) for step in key.split("."))


def one_line(message: str) -> str:
    """What was expected and what came instead, without the union of types tried on the way.

    A message in no known form is returned on one line, cut off at `MAX_LENGTH` characters.
    """
    if required := _REQUIRED.search(message):
        return f"{required[1]} needs {required[2].strip()}"
    innermost = _CLASS.sub(r"\1", _KEY.split(message)[-1]).replace("typing.", "")
    kinds = [kind for kind in _SUBCLASS.findall(innermost) + _EXPECTED.findall(innermost) if kind != "NoneType"]
    expected = " or ".join(dict.fromkeys(kinds))
    got = failed_value(message)
    if expected and got is not None:
        return f"expected {expected}, got {got!r}"
    flat = " ".join(innermost.lstrip(": \n").split())
    return flat if len(flat) <= MAX_LENGTH else f"{flat[: MAX_LENGTH - 3]}..."


def failed_value(message: str) -> str | None:
    """The value that does not fit, as text; None when the message does not show it."""
    got = _GOT.search(_KEY.split(message)[-1])
    return got[1].strip() if got else None
