"""The report of a run: every score beside its baselines and interval, as JSON, page and terminal table."""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from music_flamingo.errors import UserError
from music_flamingo.evaluation import scores
from music_flamingo.evaluation.baselines import baselines
from music_flamingo.evaluation.corpus_folder import CorpusFolder, read_corpus
from music_flamingo.evaluation.prediction import Prediction
from music_flamingo.evaluation.report_page import write_page
from music_flamingo.evaluation.run_folder import RunFolder, StageFolder, read_run

# The comparison GRPO has to win: the model it started from, and equal time of more supervised training.
_COMPARED = {"before": "3_warmup", "after": "4_grpo", "control": "control"}
_CLEAN_TRACES = "3_warmup_clean"
_PACKAGES = ("music-flamingo", "torch", "transformers", "lightning", "lhotse")


def report_command(run: Path) -> None:
    """Write `report.json` and `report.html` into a run folder and print the scores.

    What is missing is listed in both files and on the terminal, and the report goes on without it.

    Raises:
        UserError: the folder holds no stage, or a file in it cannot be read.
    """
    folder = read_run(run)
    corpus, missing = corpus_at(folder.setting("data.init_args.corpus"))
    report = build_report(folder, corpus, missing)
    (run / "report.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    page = write_page(run / "report.html", report, folder, corpus)
    print_report(report, Console())
    Console().print(str(page), soft_wrap=True, highlight=False)


def build_report(run: RunFolder, corpus: CorpusFolder | None, missing: Sequence[str] = ()) -> dict[str, Any]:
    """All numbers of the report, ready for JSON.

    Shares and accuracies lie in 0..1, intervals are 95 %, and a number that could not be computed is None.

    Args:
        run: its stages with their predictions.
        corpus: None leaves the baselines out.
        missing: absences found elsewhere, listed after the run's own.
    """
    final = run.final
    return {
        "header": _header(run, corpus),
        "final_stage": final.name if final else None,
        "missing": [*run.missing, *missing],
        "questions": question_scores(final, corpus) if final else {},
        "transcripts": transcript_scores(final) if final else {},
        "rewards": _reward_scores(run),
        "systematic": _systematic(run),
        **_behaviour(run, corpus),
        "stages": [_stage_row(stage) for stage in run.stages.values()],
    }


def corpus_at(path: Any) -> tuple[CorpusFolder | None, list[str]]:
    """The corpus that a recipe names, or a note that there is none to read."""
    if not isinstance(path, str):
        said = "names no corpus" if path is None else "is no folder"
        return None, [f"recipe field data.init_args.corpus {said}: no baselines, no clips to listen to"]
    try:
        return read_corpus(Path(path)), []
    except UserError as error:
        return None, [f"corpus: {error}"]


def _header(run: RunFolder, corpus: CorpusFolder | None) -> dict[str, Any]:
    predictions = run.final.predictions if run.final else []
    texts = sorted({each.question for each in predictions})
    decodings = {(each.decoding, each.temperature, each.audio, each.mode) for each in predictions}
    return {
        "run": str(run.folder.resolve().name),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "corpus": corpus.settings if corpus else None,
        "seed": run.setting("seed_everything"),
        "n": len(predictions),
        "n_clips": len({each.cut for each in predictions}),
        "n_pieces": len({each.piece for each in predictions}),
        "n_without_answer": sum(each.answer is None for each in predictions),
        "decoding": [
            {"decoding": decoding, "temperature": temperature, "audio": audio, "mode": mode}
            for decoding, temperature, audio, mode in sorted(decodings, key=str)
        ],
        "prompt_hash": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    }


def question_scores(final: StageFolder, corpus: CorpusFolder | None) -> dict[str, Any]:
    """Accuracies of a stage by question, each beside its baselines, which need the corpus."""
    own = scores.by_question(scores.GREEDY.select(final.predictions))
    other = scores.by_question(scores.GREEDY_OTHER_AUDIO.select(final.predictions))
    return {name: _question_score(own[name], other.get(name, []), corpus) for name in own}


def _question_score(
    own: Sequence[Prediction], other: Sequence[Prediction], corpus: CorpusFolder | None
) -> dict[str, Any]:
    summary = scores.accuracy(own) or {}
    forms = list(dict.fromkeys(each.form for each in own))
    asked = corpus.test_questions if corpus else {}
    guessed = baselines(
        corpus.train_questions if corpus else (),
        [asked[key] for key in dict.fromkeys(each.conversation for each in own) if key in asked],
    )
    return {
        "n": summary["n"],
        "accuracy": summary["mean"],
        "interval": summary["interval"],
        "majority": guessed.majority,
        "best_other_answer": guessed.best_other_answer,
        "best_other_attribute": guessed.best_other_attribute,
        "shuffled_audio": scores.mean(other, scores.correctness),
        "by_form": {form: _form_score(each for each in own if each.form == form) for form in forms},
    }


def _form_score(predictions: Iterable[Prediction]) -> dict[str, Any]:
    summary = scores.accuracy(predictions) or {}
    return {"n": summary["n"], "accuracy": summary["mean"], "interval": summary["interval"]}


def transcript_scores(final: StageFolder) -> dict[str, Any]:
    """Error rates by language, each beside the rate on another clip's audio."""
    own = scores.error_rates(scores.GREEDY.select(final.predictions))
    other = scores.error_rates(scores.GREEDY_OTHER_AUDIO.select(final.predictions))
    return {name: score | {"shuffled_audio": other.get(name, {}).get("rate")} for name, score in own.items()}


def _reward_scores(run: RunFolder) -> dict[str, Any]:
    warmup = run.predictions(_COMPARED["before"])
    compared = {name: run.predictions(stage) for name, stage in _COMPARED.items()}
    return {
        **{name: _reward(scores.SAMPLED.select(rows)) for name, rows in compared.items()},
        "greedy": {name: _reward(scores.GREEDY.select(rows)) for name, rows in compared.items()},
        "differences": {
            "sampled": _differences(compared, scores.SAMPLED),
            "greedy": _differences(compared, scores.GREEDY),
        },
        "warmup_T0.5": _reward(scores.SAMPLED_COOLER.select(warmup)),
        "clean_traces": _reward(scores.SAMPLED.select(run.predictions(_CLEAN_TRACES))),
        "clean_traces_greedy": _reward(scores.GREEDY.select(run.predictions(_CLEAN_TRACES))),
    }


def _reward(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    summary = scores.mean_with_interval(predictions, scores.total_reward)
    if summary is None:
        return None
    names = scores.reward_names(predictions)
    return summary | {"by_reward": {name: scores.mean(predictions, scores.named_reward(name)) for name in names}}


def _differences(compared: dict[str, list[Prediction]], decoding: scores.Decoding) -> dict[str, Any]:
    after = decoding.select(compared["after"])
    return {
        f"after_minus_{name}": scores.paired_difference(after, decoding.select(compared[name]), scores.total_reward)
        for name in ("before", "control")
    }


def _systematic(run: RunFolder) -> dict[str, Any] | None:
    """Accuracy per stage on the instruments whose training labels were wrong every time."""
    stage = run.stages.get(_COMPARED["before"])
    names = stage.setting("data.init_args.style.init_args.noise.init_args.systematic") if stage else None
    if not names:
        return None
    by_stage = {
        name: scores.systematic_accuracy(scores.GREEDY.select(stage.predictions), names)
        for name, stage in run.stages.items()
    }
    return {
        "instruments": dict(names),
        "accuracy": {name: score for name, score in by_stage.items() if score},
    }


def _behaviour(run: RunFolder, corpus: CorpusFolder | None) -> dict[str, Any]:
    """What completions look like, by stage: as sampled where a stage sampled, else greedy; and `greedy` beside it."""
    stages = {name: stage.predictions for name, stage in run.stages.items() if stage.predictions}
    greedy = {name: scores.GREEDY.select(each) for name, each in stages.items()}
    rows = {name: scores.SAMPLED.select(each) or greedy[name] for name, each in stages.items()}
    return {
        "format_share": {name: scores.mean(each, scores.named_reward("format")) for name, each in rows.items()},
        **_statements(rows, corpus),
        "entropy": {name: scores.mean(each, lambda row: row.entropy) for name, each in rows.items()},
        "greedy": _statements(greedy, corpus),
    }


def _statements(rows: dict[str, list[Prediction]], corpus: CorpusFolder | None) -> dict[str, Any]:
    """How much of what is said is true, and how much of what could be said is."""
    values = {value for found in corpus.fields.values() for value in found} if corpus else set()
    observed = corpus.observed if corpus else lambda _cut: {}
    return {
        "false_step_share": {name: scores.false_step_share(each) for name, each in rows.items()},
        "step_coverage": {name: scores.step_coverage(each, observed) for name, each in rows.items()},
        "repeated_value_share": _repeated_values(rows, values),
    }


def _repeated_values(rows: dict[str, list[Prediction]], values: set[str]) -> dict[str, float | None]:
    captions = {name: [each for each in found if each.form == "caption"] for name, found in rows.items()}
    shares = {name: scores.repeated_value_share(map(_caption, found), values) for name, found in captions.items()}
    truths = {each.conversation: each.truth for found in captions.values() for each in found}
    return shares | {"truth": scores.repeated_value_share(truths.values(), values)}


def _caption(prediction: Prediction) -> str:
    """What is said after the thoughts, where the answer block is missing or broken."""
    return prediction.answer or prediction.completion.rpartition("</think>")[2]


def _stage_row(stage: StageFolder) -> dict[str, Any]:
    groups = scores.by_question(scores.GREEDY.select(stage.predictions))
    return {
        "name": stage.name,
        "seconds": stage.seconds,
        "peak_rss_mib": stage.peak_rss_mib,
        "accuracy": {name: scores.mean(rows, scores.correctness) for name, rows in groups.items()},
    }


def print_report(report: dict[str, Any], console: Console) -> None:
    """The scores as two compact tables, and what was missing."""
    for absence in report["missing"]:
        console.print(f"missing: {absence}", style="yellow", markup=False, highlight=False)
    if report["questions"]:
        console.print(_question_table(report))
    if report["transcripts"]:
        console.print(_transcript_table(report))
    if any(report["rewards"][name] for name in _COMPARED):
        console.print(_reward_table(report["rewards"]))


def _question_table(report: dict[str, Any]) -> Table:
    table = _table("question", f"held-out accuracy after {report['final_stage']}")
    for name in ("n", "accuracy", "95 %", "majority", "shuffled"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("other answer", overflow="ellipsis")
    for name, score in report["questions"].items():
        best = score["best_other_attribute"]
        other = f"{_share(score['best_other_answer'])} {best}" if best else "-"
        table.add_row(
            name,
            str(score["n"]),
            _share(score["accuracy"]),
            _interval(score),
            _share(score["majority"]),
            _share(score["shuffled_audio"]),
            other,
        )
    return table


def _transcript_table(report: dict[str, Any]) -> Table:
    table = _table("language", f"errors of transcripts after {report['final_stage']}")
    for name in ("n", "unit", "rate", "95 %", "inserted", "shuffled"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, score in report["transcripts"].items():
        shares = _share(score["rate"]), _interval(score), _share(score["inserted"]), _share(score["shuffled_audio"])
        table.add_row(name, str(score["n"]), score["unit"], *shares)
    return table


def _reward_table(rewards: dict[str, Any]) -> Table:
    table = _table("reward", "mean reward, sampled at temperature 1")
    for name in ("mean", "95 %", "greedy"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stage in _COMPARED.items():
        score, greedy = rewards[name], rewards["greedy"][name]
        means = _share(score and score["mean"]), _interval(score), _share(greedy and greedy["mean"])
        table.add_row(f"{name} ({stage})", *means)
    return table


def _table(first: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(score: dict[str, Any] | None) -> str:
    return "-".join(map(_share, score["interval"])) if score and score["interval"] else "-"
