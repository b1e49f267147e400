"""What was not imported and why: counts, and the first places of each reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

OTHERS = "other reasons"
_EXAMPLES = 5
_REASONS = 100
"""Some name what a record holds, and a million records may hold a million things."""


@dataclass
class LeftOut:
    """Counts of records by reason."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count a record, and remember where the first ones stand."""
        if len(self.counts) >= _REASONS and reason not in self.counts:
            reason = OTHERS
        self.counts[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < _EXAMPLES:
            places.append(place)

    def table(self) -> dict[str, dict[str, Any]]:
        """Reason -> count and examples, the most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {reason: {"count": count, "examples": self.examples[reason]} for reason, count in ordered}

    def sentence(self) -> str:
        """All of it in one line."""
        told = (f"{count:,} {reason} ({self.examples[reason][0]})" for reason, count in self.counts.most_common())
        return f"{self.counts.total():,}: {'; '.join(told)}" if self.counts else "nothing"
