"""Lines of a run's ledger: which songs each training row held, and where each start of the run began.

A process that is killed may leave half a line, which the next start ends: such lines are skipped, as the row they were
about is trained on again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line that is there even if the process is killed right after."""
    with path.open("ab") as file:
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of one rank's file."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The first line of each start, in order."""
    path = folder / "rank0.jsonl"
    return [line for line in read_lines(path) if "begins_after_row" in line] if path.is_file() else []


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows that count: those whose effect on the weights is still there.

    A later start that began before a row has trained it again.
    """
    begins = {start["start"]: start["begins_after_row"] for start in read_starts(folder)}
    for path in sorted(folder.glob("rank*.jsonl")):
        for line in read_lines(path):
            if "row" in line and all(line["row"] <= row for start, row in begins.items() if start > line["start"]):
                yield line


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
