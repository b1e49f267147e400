"""Does time grow as the FLOPs do? Forward and backward of a group's update on songs from half a minute to ten minutes.

Seconds are fitted by two rates: one for the language model's attention, whose FLOPs grow with the square of a song, and
one for all else. Beside it stands a fit to the number of tokens alone. Points and fits are drawn into
results/DATE-cost.svg.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.optimize import nnls

from benchmarks.claim import Claim
from benchmarks.measurement import process_seconds
from benchmarks.speed.grpo_update import GROUP, shared_gradients
from benchmarks.speed.subject import completions, model, prompt_row, song, with_branches
from music_flamingo.models.cost_model import Workload, row_workload
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost

RESULTS = Path(__file__).parents[1] / "results"
WINDOWS = [1, 2, 4, 8, 12, 20]
LENGTH, MUST = 64, 0.15


@dataclass(frozen=True)
class Point:
    """An update on one song.

    Attributes:
        prompt_tokens: P.
        tokens: of the row.
        linear: FLOPs that grow with the song as its tokens do, forward and backward.
        attention: FLOPs of the language model's attention.
        seconds: CPU time.
    """

    prompt_tokens: int
    tokens: int
    linear: float
    attention: float
    seconds: float


def claims() -> Iterator[Claim]:
    """Measure, fit and draw."""
    points = [measure(num_windows) for num_windows in WINDOWS]
    seconds = np.array([point.seconds for point in points])
    by_flops = fitted(np.array([[point.linear, point.attention] for point in points]), seconds)
    by_tokens = fitted(np.array([[point.tokens] for point in points]), seconds)
    draw(points, by_flops, by_tokens, RESULTS / f"{datetime.now(UTC).date().isoformat()}-cost.svg")
    deviations = [float(np.abs(fit / seconds - 1).max()) for fit in (by_tokens, by_flops)]
    yield Claim(
        "cost grows as counted, largest deviation",
        f"update, G={GROUP}, P={points[0].prompt_tokens} to {points[-1].prompt_tokens}, C={LENGTH}, policy only",
        "a fit to the number of tokens",
        *(points[-1].seconds, points[-1].seconds),
        MUST,
        baseline_quantity=deviations[0],
        our_quantity=deviations[1],
    )


def measure(num_windows: int) -> Point:
    """The faster of two updates on a song of so many windows."""
    row = with_branches(prompt_row(song(num_windows)), completions(GROUP, LENGTH))
    seconds = min(process_seconds(lambda: shared_gradients(row)) for _ in range(2))
    work = row_workload(row)
    linear = training_flops(replace(work, seen_tokens=0, seen_by_read_tokens=0))
    return Point(num_windows * 750, row.tree.num_tokens, linear, training_flops(work) - linear, seconds)


def training_flops(work: Workload) -> float:
    """Forward and backward behind a frozen encoder."""
    flops = MusicFlamingoCost(model().network.config).flops(work)
    return flops.training(encoder=False, projector=True, language_model=True)


def fitted(quantities: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Seconds (n,) as sums of quantities (n, k), each at a rate of its own; relative errors count."""
    rates, _ = nnls(quantities / seconds[:, None], np.ones(len(seconds)))
    result: npt.NDArray[np.float64] = quantities @ rates
    return result


def draw(
    points: Sequence[Point], by_flops: npt.NDArray[np.float64], by_tokens: npt.NDArray[np.float64], path: Path
) -> None:
    """Seconds, both fits and the FLOPs, over the length of the prompt."""
    with mpl.rc_context({"svg.hashsalt": "", "font.size": 9}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        lengths = [point.prompt_tokens for point in points]
        axes.loglog(lengths, [point.seconds for point in points], "o", color="black", label="measured")
        axes.loglog(lengths, by_flops, "-", color="tab:blue", label="two rates, by counted FLOPs")
        axes.loglog(lengths, by_tokens, ":", color="tab:red", label="one rate, by tokens")
        axes.set_xlabel("P, tokens of song and question")
        axes.set_ylabel("seconds of an update")
        flops = axes.twinx()
        total = [(point.linear + point.attention) / 1e9 for point in points]
        flops.loglog(lengths, total, "--", color="tab:green", linewidth=1, label="GFLOP counted, right scale")
        flops.set_ylabel("GFLOP, forward and backward")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        lines = [*axes.get_lines(), *flops.get_lines()]
        axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False)
        figure.savefig(path, metadata={"Date": None})
