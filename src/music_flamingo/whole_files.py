"""Files that are there whole or not at all, whenever the process ends."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text`. Halves of characters, which JSON may hold, are written as JSON writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    partial.replace(path)
