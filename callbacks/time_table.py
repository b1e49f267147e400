"""How do the parts of a training step share its time? Ranges of one clock, nested as they ran."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from music_flamingo.step_parts import Range

OTHER = "other"
"""Name of what is left of a part when those inside it are taken away."""

_Path = tuple[str, ...]


@dataclass(frozen=True)
class TimeRow:
    """A line of the table.

    Attributes:
        name: of the part, or `OTHER`.
        depth: parts around it.
        seconds: in a step, on average.
        share: of the step's seconds, 0 to 1.
        calls: in a step, on average; None for `OTHER`.
    """

    name: str
    depth: int
    seconds: float
    share: float
    calls: float | None


def time_table(steps: Sequence[Range], parts: Sequence[Range]) -> list[TimeRow]:
    """What each part takes of a step, in the order in which they first ran.

    Parts of one name inside the same parts are one line. Below a part come those inside it and `OTHER`, which add up to
    it; the outermost lines add up to the step.

    Args:
        steps: at least one; they do not overlap.
        parts: of one thread, so that any two are nested or apart; those that began outside of the steps are left out.
    """
    spent: dict[_Path, list[float]] = {(): [step.seconds for step in steps]}
    for path, seconds in _nested(steps, parts):
        spent.setdefault(path, []).append(seconds)
    num_steps, total = len(steps), sum(spent[()])

    def lines(path: _Path) -> Iterator[TimeRow]:
        inside = [other for other in spent if other and other[:-1] == path]
        rest = sum(spent[path])
        for part in inside:
            seconds = sum(spent[part])
            rest -= seconds
            yield TimeRow(part[-1], len(path), seconds / num_steps, seconds / total, len(spent[part]) / num_steps)
            yield from lines(part)
        if inside:
            yield TimeRow(OTHER, len(path), rest / num_steps, rest / total, None)

    return list(lines(()))


def _nested(steps: Sequence[Range], parts: Sequence[Range]) -> Iterator[tuple[_Path, float]]:
    """The names of the parts around each part with its own, and its seconds."""
    around: list[Range] = []
    for part in sorted(parts, key=lambda part: (part.start, -part.end)):
        if any(step.start <= part.start < step.end for step in steps):
            around = [*(outer for outer in around if part.start < outer.end), part]
            yield tuple(outer.name for outer in around), part.seconds
