"""The report as one HTML page that needs nothing else: style, script, curves and sound are inside it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from music_flamingo.evaluation import scores
from music_flamingo.evaluation.corpus_folder import CorpusFolder
from music_flamingo.evaluation.curves import curve_svg
from music_flamingo.evaluation.listening import Clip, Sample, choose_samples, read_clip
from music_flamingo.evaluation.prediction import Prediction
from music_flamingo.evaluation.run_folder import RunFolder

_TEMPLATES = Path(__file__).parent / "templates"
# Twenty ten-second clips take one; a corpus of long songs would otherwise make a page no browser likes.
_AUDIO_BUDGET_BYTES = 11_000_000


def write_page(path: Path, report: Mapping[str, Any], run: RunFolder, corpus: CorpusFolder | None) -> Path:
    """Render the page; returns its path."""
    path.write_text(render_page(report, run, corpus), encoding="utf-8")
    return path


def render_page(report: Mapping[str, Any], run: RunFolder, corpus: CorpusFolder | None) -> str:
    """The page's HTML. Everything that comes from data is escaped by the template engine.

    Args:
        report: as `build_report` returns it.
        run: for the curves and the samples of its final stage.
        corpus: None leaves the sound out.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share, interval=_interval, signed=_signed, duration=_duration, seconds=_seconds)
    return environment.get_template("report.html.j2").render(
        report=report,
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "report.js").read_text(encoding="utf-8")),
        curves={name: stage.curves for name, stage in run.stages.items() if stage.curves},
        curve_svg=curve_svg,
        reward_scale=_reward_scale(report["rewards"]),
        cards=_cards(run, corpus),
    )


def _cards(run: RunFolder, corpus: CorpusFolder | None) -> list[dict[str, Any]]:
    """One entry per sample shown, with its clip and what else was answered about that clip."""
    rows = scores.GREEDY.select(run.final.predictions) if run.final else []
    cards, budget = [], _AUDIO_BUDGET_BYTES
    clips: dict[str, Clip | None] = {}
    for sample in choose_samples(rows):
        clip = _clip(sample.prediction.cut, corpus, clips)
        # A clip shown twice carries its sound twice, so it is charged twice.
        budget -= len(clip.audio) if clip else 0
        cards.append(_card(sample, clip, rows, corpus) | {"has_audio": clip is not None and budget >= 0})
    return cards


def _clip(cut_id: str, corpus: CorpusFolder | None, clips: dict[str, Clip | None]) -> Clip | None:
    cut = corpus.test_cuts.get(cut_id) if corpus else None
    if cut_id not in clips:
        clips[cut_id] = read_clip(cut) if cut is not None else None
    return clips[cut_id]


def _card(sample: Sample, clip: Clip | None, rows: Iterable[Prediction], corpus: CorpusFolder | None) -> dict[str, Any]:
    shown = sample.prediction
    stated = {step["field"] for step in shown.steps or ()}
    observed = corpus.observed(shown.cut) if corpus and shown.mode == "think" else {}
    options = shown.options or []
    return {
        "prediction": shown,
        "chosen": sample.chosen,
        "clip": clip,
        "tradition": _tradition(shown.cut, corpus),
        # Multiple choice questions usually spell their options out; do not say them twice.
        "options": options if any(option not in shown.question for option in options) else [],
        "unsaid": {field: value for field, value in observed.items() if field not in stated},
        "others": [row for row in rows if row.cut == shown.cut and row.conversation != shown.conversation],
    }


def _tradition(cut_id: str, corpus: CorpusFolder | None) -> str | None:
    cut = corpus.test_cuts.get(cut_id) if corpus else None
    return (cut.custom or {}).get("tradition") if cut is not None else None


def _reward_scale(rewards: Mapping[str, Any]) -> dict[str, float]:
    """Lowest and highest value the reward bars have to show; 0 is always in."""
    names = ("before", "after", "control", "clean_traces", "warmup_T0.5")
    found = [rewards[name] for name in names if rewards[name]]
    found += [each for each in rewards["greedy"].values() if each]
    ends = [end for each in found for end in each["interval"] or [each["mean"]]]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return {"low": low, "high": high if high > low else low + 1.0}


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _duration(value: float | None) -> str:
    """Seconds as minutes:seconds."""
    if value is None:
        return "–"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}:{seconds:02d}"
