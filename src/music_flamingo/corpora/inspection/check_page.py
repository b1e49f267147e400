"""The findings of a check as a page: how much of what, and a table to work through."""

from pathlib import Path
from typing import Any

from music_flamingo.corpora.inspection.findings import KINDS
from music_flamingo.corpora.inspection.pages import write_page

_MAX_ROWS = 2000
"""More make a slow page; all of them are in findings.json."""


def write_check_page(path: Path, report: dict[str, Any]) -> None:
    """Write the page of `findings.json`."""
    findings = sorted(report["findings"], key=lambda finding: finding["severity"] != "error")
    most = max(report["by_kind"].values(), default=1)
    bars = [
        {"kind": kind, **vars(KINDS[kind]), "count": count, "percent": round(100 * count / most, 2)}
        for kind, count in report["by_kind"].items()
    ]
    write_page(
        path,
        "check.html.j2",
        report=report,
        kinds=KINDS,
        bars=sorted(bars, key=lambda bar: (bar["severity"] != "error", -bar["count"])),
        rows=findings[:_MAX_ROWS],
        num_songs=sum(report["counts"]["songs"].values()),
    )
