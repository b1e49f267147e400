"""How is a plan told? As a table that is read in ten seconds, and as a record for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from music_flamingo.planning.parameters import PARTS
from music_flamingo.planning.planned import Plan

GIB = 1024**3
MINUTE, HOUR, DAY = 60, 3600, 86_400
SHORT = 10.0
LABEL = 22


def page(plan: Plan) -> str:
    """The table."""
    return "\n".join(f"{label:<{LABEL}}{text}".rstrip() for label, text in _lines(plan))


def record(plan: Plan, remedies: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Everything the table says, in bytes, FLOPs and seconds."""
    parameters, time, row = plan.model.parameters, plan.time, plan.row
    return {
        "devices": {"name": plan.group.device.name, "count": plan.group.count, "source": plan.group.device.source},
        "model": plan.model.kind,
        "parameters": {
            "trained": parameters.trained,
            "frozen": parameters.frozen,
            **{part: parameters[part].all for part in PARTS},
        },
        "row": {"songs": row.songs, "song_seconds": row.song_seconds, "tokens": row.trained.tokens},
        "fullest_row": {
            "songs": plan.fullest_row.songs,
            "song_seconds": plan.fullest_row.song_seconds,
            "tokens": plan.fullest_row.trained.tokens,
        },
        "step": {
            "rows": plan.rows_of_step,
            "sequences": plan.rows_of_step * sequences(plan),
            "tokens": plan.rows_of_step * row.trained.tokens,
            "flops_per_row": time.flops,
            "recomputed_flops_per_row": time.recomputed,
            "seconds": time.seconds * seconds_factor(plan),
            "seconds_at_peak": time.fastest * seconds_factor(plan),
        },
        "memory": {
            "usable": plan.usable,
            "peak": plan.fullest.total,
            "moment": plan.fullest.name,
            "parts": dict(plan.fullest.parts),
            "moments": {moment.name: moment.total for moment in plan.moments},
        },
        "epoch": None
        if plan.epoch is None
        else {"songs": plan.epoch.songs, "steps": plan.epoch.steps, "song_seconds": plan.epoch.song_seconds},
        "fits": plan.fits,
        "fits_with": [list(each) for each in remedies],
    }


def sequences(plan: Plan) -> int:
    """Answers of a row: what a training without shared songs would hold as rows of their own."""
    return plan.texts.questions * plan.row.songs * max(1, plan.texts.completions)


def seconds_factor(plan: Plan) -> float:
    """Rows that a device computes in a step; devices that share a row compute a part of one."""
    return plan.asked.accumulated / plan.placement.row_shares


def gigabytes(count: float) -> str:
    """Bytes as gibibytes, or mebibytes where they are few."""
    return f"{count / GIB:,.1f} GiB" if count >= 0.1 * GIB else f"{count / GIB * 1024:,.1f} MiB"


def duration(seconds: float) -> str:
    """In the unit in which it is read at once."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.2g} s" if seconds < SHORT else f"{seconds:.0f} s"


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    parameters, time, row, device = plan.model.parameters, plan.time, plan.row, plan.group.device
    millions = ", ".join(f"{part} {parameters[part].all / 1e6:,.1f}" for part in PARTS if parameters[part].all)
    yield "model", f"{plan.model.kind}, {parameters.all / 1e6:,.1f} million parameters: {millions}"
    yield "trained", f"{parameters.trained / 1e6:,.1f} million, {parameters.frozen / 1e6:,.1f} frozen"
    yield "row", f"{row.trained.tokens:,} tokens: {row.songs} x {duration(row.song_seconds)} of song with its texts"
    step = f"{plan.rows_of_step} rows, {plan.rows_of_step * sequences(plan):,} answers"
    yield "step", f"{step}, {plan.rows_of_step * row.trained.tokens:,} tokens on {plan.group.count} x {device.name}"
    yield "", ""
    yield "memory per device", f"at its fullest: {plan.fullest.name}"
    for name, size in plan.fullest.parts.items():
        if size:
            yield f"  {name}", f"{gigabytes(size):>12}"
    full = plan.fullest_row
    needed = f"{gigabytes(plan.fullest.total):>12} of {gigabytes(plan.usable)}"
    yield "  all", f"{needed}, for a row of {full.trained.tokens:,} tokens"
    for length in plan.lengths:
        kept = f"{gigabytes(length.activations):>12} kept, {gigabytes(length.recomputing)} with recompute_above"
        least = f"{gigabytes(length.recomputing_layers)} with recompute_layers_above"
        yield f"  song of {duration(length.seconds)}", f"{kept}, {least}, {length.tokens:,} tokens"
    yield "", ""
    factor = seconds_factor(plan)
    again = f" and {time.recomputed:.3g} again" if time.recomputed else ""
    yield "FLOPs of a row", f"{time.flops:.3g}{again}"
    at_peak = f"{duration(time.fastest * factor)} at {device.peak / 1e12:,.4g} TFLOP/s"
    yield "time of a step", f"{duration(time.seconds * factor)} at {device.utilisation:.0%} of the peak, {at_peak}"
    yield from _totals(plan, time.seconds * factor)
    yield "fits", "yes" if plan.fits else "no"


def _totals(plan: Plan, step: float) -> Iterator[tuple[str, str]]:
    """Epoch and run, as far as they are known."""
    if plan.epoch is None:
        yield "time of an epoch", "not known: the corpus is not there"
    else:
        steps = f"{plan.epoch.steps:,.0f} steps over {plan.epoch.songs:,.0f} songs"
        yield "time of an epoch", f"{duration(plan.epoch.steps * step)}: {steps}"
    if plan.asked.max_steps is not None:
        yield "time of the run", f"{duration(plan.asked.max_steps * step)}: {plan.asked.max_steps:,} steps"
