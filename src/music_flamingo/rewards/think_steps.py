"""Think-steps reward: are the statements in the thoughts true, and does each say something new?"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from music_flamingo.errors import UserError
from music_flamingo.rewards.normalise import fold
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import Reward
from music_flamingo.rewards.vocabulary import Vocabulary, read_vocabulary
from music_flamingo.think_tags import parse_completion

# A full stop within a word or number does not end a sentence. No possessive quantifiers, which read wrongly before
# Python 3.11.5; each character fits one alternative only, so that there is nothing to go back over.
_STATEMENT = re.compile(r"[^.\s](?:[^.\n]|\.(?=\S))*")
_SECONDS = r"(?P<seconds>\d{1,6}(?:\.\d{1,6})?)"
MAX_THINK_CHARACTERS = 20_000
"""Longer thoughts earn 0 without being read; MF-Think's have at most 250 words."""

_FILLING_WORDS = frozenset({"a", "an", "the", "with"})


@dataclass(frozen=True)
class Step:
    """One statement of the thoughts.

    Attributes:
        field: the observation it is about; empty when no template fits.
        value: what it says; empty when no template fits.
        seconds: the time it names; None without one.
        raw: the statement as written, without its full stop.
    """

    field: str
    value: str
    seconds: float | None
    raw: str


@dataclass(frozen=True)
class StepTemplate:
    """How a vocabulary lets one field be stated.

    Attributes:
        field: the observation.
        pattern: expression over a folded statement, with the groups `value` and, optionally, `seconds`.
        values: surface form -> observed value.
    """

    field: str
    pattern: re.Pattern[str]
    values: Mapping[str, str]


def read_templates(steps: Mapping[str, Mapping[str, Any]]) -> tuple[StepTemplate, ...]:
    """Compile the "steps" of a vocabulary.

    Args:
        steps: field -> {"template": text with {value} and optionally {seconds}, "values": list of surface
            forms, or surface form -> observed value}.

    Raises:
        UserError: a template lacks {value}, or there are no values.
    """
    return tuple(_read_template(field, step) for field, step in steps.items())


def parse_steps(text: str, templates: Mapping[str, Mapping[str, Any]] | Sequence[StepTemplate]) -> list[Step]:
    """All statements of some thoughts, in order.

    Args:
        text: the thoughts, without tags; statements end with a full stop or a line break.
        templates: the "steps" of a vocabulary, compiled by `read_templates` or not.

    Returns:
        one step per statement; those that no template fits have an empty field.

    Raises:
        UserError: see `read_templates`.
    """
    return list(_iterate_steps(text, read_templates(templates) if isinstance(templates, Mapping) else templates))


def judge_steps(
    steps: Sequence[Step],
    observations: Mapping[str, str],
    observation_seconds: Mapping[str, float] | None = None,
    seconds_tolerance: float | None = None,
) -> list[tuple[Step, bool]]:
    """Decide which statements are true.

    Args:
        steps: statements.
        observations: field -> true value; a statement about any other field is false.
        observation_seconds: field -> when it is heard, seconds; used only with a tolerance.
        seconds_tolerance: largest error of a named time, seconds; None leaves times unchecked.

    Returns:
        the statements in their order, each with its verdict.
    """
    times = (observation_seconds or {}) if seconds_tolerance is not None else {}

    def is_true(step: Step) -> bool:
        if step.field not in observations or _plain(step.value) != _plain(observations[step.field]):
            return False
        if seconds_tolerance is None or step.seconds is None or step.field not in times:
            return True
        return abs(step.seconds - times[step.field]) <= seconds_tolerance + 1e-9

    return [(step, is_true(step)) for step in steps]


class ThinkStepsReward(Reward):
    """Truth and coverage of the thoughts, in [-false_weight, 1]; abstains where nothing was observed.

    (true statements about distinct fields - false_weight * all other statements) / observed fields, not below what as
    many false statements as there are fields earn. The others are false, repeated or unrecognised. So leaving out costs
    coverage, a guess pays only where it is right more often than false_weight / (1 + false_weight), and neither
    repetition nor filling pays. No thoughts earn 0. A higher floor would be reached with one or two mistakes, and a
    chain could lose nothing by one more.

    Args:
        vocabulary: path or content of the corpus' `vocabulary.json`; its "steps" hold the templates.
        seconds_tolerance: largest error of a named time, seconds; None leaves times unchecked.
        false_weight: what a statement that is not true costs, in true ones.

    Raises:
        UserError: the vocabulary cannot be read, a template is wrong, the tolerance is negative or the weight below 1.
    """

    name = "think_steps"

    def __init__(
        self, vocabulary: Vocabulary, seconds_tolerance: float | None = None, false_weight: float = 1.0
    ) -> None:
        if seconds_tolerance is not None and seconds_tolerance < 0:
            raise UserError(f"ThinkStepsReward: seconds_tolerance must be 0 or more, or null, not {seconds_tolerance}")
        if false_weight < 1:
            raise UserError(f"ThinkStepsReward: false_weight must be 1 or more, not {false_weight}")
        self.seconds_tolerance = seconds_tolerance
        self.false_weight = false_weight
        self._templates = read_templates(read_vocabulary(vocabulary, "steps", "ThinkStepsReward"))

    def __call__(self, completion: str, reference: Reference) -> float | None:
        """Score of the thoughts; 0 without any of sensible length, None without observations to state."""
        num_observed = sum(template.field in reference.observations for template in self._templates)
        if num_observed == 0:
            return None
        think = parse_completion(completion).think
        if not think or len(think) > MAX_THINK_CHARACTERS:
            return 0.0
        # At most `num_observed` statements can be true: past three times as many it is the floor, and reading can stop.
        steps = list(islice(_iterate_steps(think, self._templates), 3 * num_observed))
        judged = judge_steps(steps, reference.observations, reference.observation_seconds, self.seconds_tolerance)
        return max(-self.false_weight, _points(judged, self.false_weight) / num_observed)


def _points(judged: Sequence[tuple[Step, bool]], false_weight: float) -> float:
    """1 for a true statement about a field not stated before, -false_weight for every other one."""
    stated: set[str] = set()
    points = 0.0
    for step, is_true in judged:
        points += 1.0 if is_true and step.field not in stated else -false_weight
        stated.add(step.field)
    return points


def _iterate_steps(text: str, templates: Sequence[StepTemplate]) -> Iterator[Step]:
    return (_read_step(match[0].strip(), templates) for match in _STATEMENT.finditer(text))


def _read_step(raw: str, templates: Sequence[StepTemplate]) -> Step:
    # Folding costs up to 18 times the length; no statement that fits a template is this long.
    statement = fold(raw) if len(raw) <= 500 else ""  # noqa: PLR2004
    for template in templates:
        match = template.pattern.fullmatch(statement)
        if match is not None:
            seconds = match.groupdict().get("seconds")
            value = template.values[match["value"]]
            return Step(template.field, value, float(seconds) if seconds is not None else None, raw)
    return Step("", "", None, raw)


def _read_template(field: str, step: Mapping[str, Any]) -> StepTemplate:
    template, values = step.get("template", ""), step.get("values")
    if "{value}" not in template or not values:
        raise UserError(
            f'vocabulary, steps.{field}: expected "template" with {{value}} and a non-empty "values", '
            f"got {template!r} and {values!r}; make the corpus again"
        )
    by_surface = dict(values) if isinstance(values, Mapping) else {value: value for value in values}
    by_surface = {fold(surface): value for surface, value in by_surface.items()}
    choice = "|".join(re.escape(surface) for surface in sorted(by_surface, key=len, reverse=True))
    pattern = re.escape(fold(template)).replace(r"\{value\}", f"(?P<value>{choice})").replace(r"\{seconds\}", _SECONDS)
    return StepTemplate(field, re.compile(pattern), by_surface)


def _plain(value: str) -> list[str]:
    """Words that matter: a vocabulary may say "with drums" where the observation is "drums"."""
    return [word for word in fold(value).split() if word not in _FILLING_WORDS]
