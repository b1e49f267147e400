"""What every Python 3.11 reads alike."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
POSSESSIVE = re.compile(r"[*+?}]\+|\(\?>")


def test_no_regular_expression_is_possessive() -> None:
    """Python before 3.11.5 matches too much where a possessive group repeats: thoughts came back as one sentence."""
    sources = [path for folder in ("src", "callbacks", "data_modules") for path in (ROOT / folder).rglob("*.py")]
    lines = [(path.name, line) for path in sources for line in path.read_text().splitlines() if "re.compile(" in line]
    assert lines
    assert [found for found in lines if POSSESSIVE.search(found[1])] == []
