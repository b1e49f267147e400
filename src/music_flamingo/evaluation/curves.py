"""Training curves: read from TensorBoard's event files, drawn as small inline SVG."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# What a reader looks for first, in this order; a tag belongs to the first name it contains.
_KEY_NAMES = (
    "loss",
    "reward",
    "format",
    "accuracy",
    "think",
    "entropy",
    "/kl",
    "listening",
    "completion_tokens",
    "length",
)
_DETAILS = ("_std", "_zero_spread", "_max", "_min")
_MAX_POINTS = 240
_WIDTH, _HEIGHT = 320, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 20
_SMOOTHING_SHARE = 0.06


@dataclass(frozen=True)
class Curve:
    """One logged scalar over a stage.

    Args:
        tag: as logged, for example "train/loss".
        steps: increasing.
        values: as long as `steps`; finite.
        num_not_finite: logged values left out because they were NaN or infinite.
    """

    tag: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    num_not_finite: int = 0

    @property
    def is_key(self) -> bool:
        """Whether the tag names a quantity the report shows without being asked."""
        return _rank(self.tag) < len(_KEY_NAMES)


def read_curves(folder: Path) -> list[Curve]:
    """Every scalar under a TensorBoard folder, key quantities first.

    Sub-folders count too: each resume of a stage may leave its own. Of a step logged twice the
    later value is kept.

    Returns:
        One curve per tag; empty when there are no event files.
    """
    folders = sorted({path.parent for path in folder.rglob("events.out.tfevents.*")})
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for events in folders:
        for tag, step, wall_time, value in _scalars(events):
            kept = points.setdefault(tag, {})
            if step not in kept or wall_time >= kept[step][0]:
                kept[step] = (wall_time, value)
    curves = [_curve(tag, {step: value for step, (_, value) in kept.items()}) for tag, kept in points.items()]
    return sorted(curves, key=lambda curve: (_rank(curve.tag), curve.tag))


def _scalars(folder: Path) -> Iterable[tuple[str, int, float, float]]:
    # Size guidance 0 keeps every point: the default keeps a random ten thousand.
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    for tag in accumulator.Tags()["scalars"]:
        for event in accumulator.Scalars(tag):
            yield tag, event.step, event.wall_time, event.value


def _curve(tag: str, values: dict[int, float]) -> Curve:
    finite = sorted((step, value) for step, value in values.items() if math.isfinite(value))
    steps, kept = zip(*finite, strict=True) if finite else ((), ())
    return Curve(tag, tuple(steps), tuple(kept), num_not_finite=len(values) - len(finite))


def _rank(tag: str) -> int:
    names = () if tag.endswith(_DETAILS) else _KEY_NAMES
    return next((rank for rank, name in enumerate(names) if name in tag.lower()), len(_KEY_NAMES))


def moving_average(values: Sequence[float], window: int) -> list[float]:
    """Mean over the `window` values around each one, fewer at both ends."""
    half = window // 2
    around = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(near) / len(near) for near in around]


def thin(points: Sequence[tuple[float, float]], max_points: int = _MAX_POINTS) -> list[tuple[float, float]]:
    """At most `max_points` of the points: the mean of each equal run of neighbours."""
    run = math.ceil(len(points) / max_points)
    if run <= 1:
        return list(points)
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    return [(sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near)) for near in runs]


def curve_svg(curve: Curve) -> Markup:
    """The curve as an SVG element, 320 x 130 units: raw values faint, a moving average over them.

    Colours come from the page's style (classes `raw`, `mean`, `grid`), so the drawing follows light and dark.
    """
    if not curve.steps:
        return Markup('<p class="quiet">no finite values</p>')
    low, high = _span(curve.values)
    first, last = _span((curve.steps[0], curve.steps[-1]))
    points = thin(list(zip(curve.steps, curve.values, strict=True)))
    smooth = moving_average([y for _, y in points], max(1, round(len(points) * _SMOOTHING_SHARE)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        return across, _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    raw = [place(x, y) for x, y in points]
    mean = [place(x, y) for (x, _), y in zip(points, smooth, strict=True)]
    ends = (f"{curve.values[end]:.3g} at step {curve.steps[end]}" for end in (0, -1))
    label = f"{curve.tag}: {', '.join(ends)}"
    return Markup(
        '<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}{}{}{}</svg>'
    ).format(
        _WIDTH,
        _HEIGHT,
        label,
        label,
        _axes(low, high),
        _step_labels(curve),
        _line(raw, "raw"),
        _line(mean, "mean"),
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest value, moved apart when equal so that a flat curve can be drawn."""
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _axes(low: float, high: float) -> Markup:
    lines = Markup()
    for value, y in (
        (high, _TOP),
        ((low + high) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2),
        (low, _HEIGHT - _BOTTOM),
    ):
        lines += Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH - _RIGHT, y, y)
        lines += Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_LEFT - 5, y + 4, f"{value:.3g}")
    return lines


def _step_labels(curve: Curve) -> Markup:
    y = _HEIGHT - 5
    left = Markup('<text x="{}" y="{}">{}</text>').format(_LEFT, y, f"step {curve.steps[0]:,}")
    return left + Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
        _WIDTH - _RIGHT, y, f"{curve.steps[-1]:,}"
    )


def _line(points: Sequence[tuple[float, float]], style: str) -> Markup:
    if len(points) == 1:
        return Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"/>').format(style, *_rounded(points[0]))
    path = " ".join(f"{x},{y}" for x, y in map(_rounded, points))
    return Markup('<polyline class="{}" points="{}"/>').format(style, path)


def _rounded(point: tuple[float, float]) -> tuple[float, float]:
    return round(point[0], 1), round(point[1], 1)
