"""The model card of a Hugging Face directory: what it is, what it was made of, and how well it answers.

What is not known is said not to be.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from music_flamingo.model_cards.carried_licence import CARD, Start, carried_metadata, copy_licence_files
from music_flamingo.whole_files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_VALUES = 12
"""Of a corpus' licences or sources that are shown."""


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of a corpus that was trained on.

    Attributes:
        name: of its folder.
        passes: in an epoch.
        clips: songs of its training split; None where they were not counted.
        hours: of them.
        licences: songs by what their cut says.
        sources: the same.
        why_not: why they were not counted.
    """

    name: str
    passes: float = 1.0
    clips: int | None = None
    hours: float = 0.0
    licences: Mapping[str, int] | None = None
    sources: Mapping[str, int] | None = None
    why_not: str = ""


@dataclass(frozen=True)
class ScoreFacts:
    """Answers of these weights to held-out questions.

    Attributes:
        questions: by name, as in the report.
        transcripts: by language, as in the report.
        why_not: why there are none.
    """

    questions: Mapping[str, Mapping[str, Any]]
    transcripts: Mapping[str, Mapping[str, Any]]
    why_not: str = ""


NO_SCORES = ScoreFacts({}, {}, "This card was written at the end of the fit, before any test.")


@dataclass(frozen=True)
class CardFacts:
    """What a card says.

    Attributes:
        title: of the card.
        folder: that the card lies in, by its own name.
        model: class of the network and the package it is imported from.
        answers: whether it is a language model.
        starts: which weights it was made of.
        stage: class of the training stage; nothing for weights that no stage has trained.
        step: optimizer steps of it.
        max_steps: that it was to take; None where the recipe does not say.
        corpora: that it was trained on; None where they are not recorded.
        recipe: as written; nothing where there is none.
        scores: None for weights that no stage has trained.
        dtype: of the weights.
        made: how the weights came about that no stage has trained.
        has_processor: whether the folder holds one.
    """

    title: str
    folder: str
    model: tuple[str, str]
    answers: bool
    starts: Sequence[Start]
    dtype: str
    stage: str = ""
    step: int = 0
    max_steps: int | None = None
    corpora: Sequence[CorpusFacts] | None = None
    recipe: str = ""
    scores: ScoreFacts | None = None
    made: str = ""
    has_processor: bool = True


def network_facts(network: Any) -> dict[str, Any]:
    """What a card says of a network by itself."""
    module = type(network).__module__
    package = "transformers" if module.startswith("transformers.") else module.rpartition(".")[0]
    return {
        "model": (type(network).__name__, package),
        "answers": hasattr(network, "lm_head"),
        "dtype": str(network.dtype).removeprefix("torch."),
    }


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write the card into a folder, and copy the texts of the licences it carries."""
    files = copy_licence_files(facts.starts, folder)
    write_text(folder / CARD, str(model_card(facts, files)))


def model_card(facts: CardFacts, licence_files: Sequence[str] = ()) -> ModelCard:
    """The card.

    Args:
        facts: that it states.
        licence_files: beside it.
    """
    kind: dict[str, Any] = {"pipeline_tag": "audio-text-to-text"} if facts.answers else {}
    tags = ["music", "audio", "music-flamingo"]
    data = ModelCardData(library_name="transformers", tags=tags, **kind, **carried_metadata(facts.starts))
    # What comes from data must not become markup; Markdown is no HTML, so that autoescape does not do it.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        cell=_cell, share=_share, interval=_interval, fence=_fence, counted=_counted, quoted=shlex.quote
    )
    text = environment.get_template("model_card.md.j2").render(facts=facts, licence_files=licence_files)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def _cell(value: object) -> str:
    """Text on one line that is neither markup nor a border of a table."""
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


def _counted(values: Mapping[str, int]) -> list[str]:
    """The most frequent values with their counts, a line each."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count:,} x {_cell(value)}" for value, count in ordered[:_MOST_VALUES]]
    rest = len(ordered) - _MOST_VALUES
    return [*shown, *([f"{rest:,} rarer ones"] if rest > 0 else [])]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _fence(text: str) -> str:
    """A fence that no line of a text ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)
