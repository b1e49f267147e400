"""What a run's folder tells of a model, for its card: recipe, corpora and scores."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.songs import read_songs
from music_flamingo.corpora.inspection.tally import NOT_SAID, SONG_GROUPS
from music_flamingo.corpora.places import is_url
from music_flamingo.corpora.songs import holds_split
from music_flamingo.evaluation.prediction import Prediction, read_predictions
from music_flamingo.evaluation.report import corpus_at, question_scores, transcript_scores
from music_flamingo.evaluation.run_folder import StageFolder, read_stage_recipe
from music_flamingo.model_cards.carried_licence import read_start
from music_flamingo.model_cards.model_card import NO_SCORES, CardFacts, CorpusFacts, ScoreFacts, network_facts
from music_flamingo.models import AFClap, MusicLanguageModel


def trained_card(
    run: Path, model: MusicLanguageModel | AFClap, stage: str, step: int, folder: str, *, counted: bool
) -> CardFacts:
    """What is known of a model that a run trained.

    Args:
        run: its folder.
        model: with the trained weights.
        stage: class of the training stage.
        step: optimizer steps of the weights.
        folder: that the card will lie in, by its own name.
        counted: read the corpora and the run's answers, which takes a second for 20,000 songs.

    Raises:
        UserError: a file of the run is not as `music-flamingo` wrote it.
    """
    recipe = run / "recipe.yaml"
    folder_read = StageFolder(run.name, recipe=read_stage_recipe(recipe))
    steps = folder_read.setting("trainer.max_steps")
    return CardFacts(
        title=run.resolve().name,
        folder=folder,
        **network_facts(model.network),
        starts=[read_start(directory) for directory in model.started_from if directory],
        stage=stage,
        step=step,
        max_steps=steps if isinstance(steps, int) and steps > 0 else None,
        corpora=_corpora(folder_read, corpus_facts if counted else uncounted),
        recipe=recipe.read_text(encoding="utf-8") if folder_read.recipe is not None else "",
        scores=run_scores(run, folder_read, step) if counted else NO_SCORES,
    )


def run_scores(run: Path, stage: StageFolder, step: int) -> ScoreFacts:
    """Scores of the answers that the weights of a step gave, of those in the run's folder.

    Raises:
        UserError: `predictions.jsonl` is not as it was written.
    """
    path = run / "predictions.jsonl"
    answers = read_predictions(path) if path.is_file() else []
    own = [answer for answer in answers if answer.step == step]
    if not own:
        return ScoreFacts({}, {}, _why_no_scores(answers))
    corpus, _ = corpus_at(stage.setting("data.init_args.corpus"))
    answered = replace(stage, predictions=own)
    return ScoreFacts(question_scores(answered, corpus), transcript_scores(answered))


def _why_no_scores(answers: Sequence[Prediction]) -> str:
    if not answers:
        return "The run's folder holds no answers: `music-flamingo test` writes them."
    steps = sorted({str(answer.step) if answer.step is not None else "unknown" for answer in answers})
    return f"The answers in the run's folder are those of other weights (step {', '.join(steps)})."


def _corpora(stage: StageFolder, facts: Callable[[str, float], CorpusFacts]) -> list[CorpusFacts] | None:
    """Of the recipe's corpus, or of the sources of its blend."""
    if stage.recipe is None:
        return None
    named = stage.setting("data.init_args.corpus")
    if isinstance(named, str):
        return [facts(named, 1.0)]
    sources = ((named or {}).get("init_args") or {}).get("sources") or []
    return [facts(source["corpus"], source.get("passes", 1.0)) for source in sources]


def uncounted(corpus: str, passes: float) -> CorpusFacts:
    """A corpus by its name."""
    return CorpusFacts(_name(corpus), passes, why_not="at the end of a fit corpora are only named")


def corpus_facts(corpus: str, passes: float) -> CorpusFacts:
    """What the manifest of a corpus' training split says; no audio is read."""
    if is_url(corpus):
        return CorpusFacts(_name(corpus), passes, why_not="in an object store")
    if not holds_split(corpus, "train"):
        return CorpusFacts(_name(corpus), passes, why_not="not where the recipe has it")
    groups: dict[str, Counter[str]] = {name: Counter() for name in SONG_GROUPS}
    clips, seconds = 0, 0.0
    songs = read_songs(Path(corpus), "train")
    for cut in track(songs, f"counting {_name(corpus)}", console=Console(stderr=True), transient=True):
        if not isinstance(cut, Finding):
            clips, seconds = clips + 1, seconds + cut.duration
            for name, values in groups.items():
                values[str(cut.custom.get(name) or NOT_SAID)] += 1
    return CorpusFacts(_name(corpus), passes, clips, seconds / 3600, groups["licence"], groups["source"])


def _name(corpus: str) -> str:
    return corpus.rstrip("/").rpartition("/")[2]
