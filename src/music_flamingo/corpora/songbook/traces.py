"""Chains of thought from observations, and what a chain concludes.

The sentences are those of `vocabulary.STEP_TEMPLATES`, whose docstring says how to read them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from music_flamingo.corpora.songbook.vocabulary import STEP_TEMPLATES


def whole_seconds(seconds: float) -> int:
    """Nearest whole second, halves upwards, as a time is written in chains and answers."""
    return int(seconds + 0.5)


def think_text(observations: Sequence[Mapping[str, Any]], concluding: str | None = None) -> str:
    """The steps of a chain, such as "at 0 s the flute begins . solo texture . with drums . fast tempo .".

    Args:
        observations: what is noted, in order.
        concluding: field of the question; its step comes last, as what the chain arrives at. None or a field
            that is not noted leaves the order.
    """
    steps = sorted(observations, key=lambda observation: observation["field"] == concluding)
    return " ".join(f"{_step(observation)} ." for observation in steps)


def concluded_answer(conversation: Mapping[str, Any], noisy_observations: Sequence[Mapping[str, Any]]) -> str:
    """The answer that follows from the chain's own steps.

    It differs from the clean answer only where a step states otherwise. A field that the chain leaves out
    keeps the clean answer, and so does a multiple choice whose options lack what the chain states.

    Args:
        conversation: as `questions.ask` makes it, with `value` and, in the binary form, `claim`.
        noisy_observations: what the chain says, possibly nothing.
    """
    answer = str(conversation["answer"])
    value = _stated_value(conversation, noisy_observations)
    if value is None:
        return answer
    if conversation["form"] == "binary":
        return "yes" if _same(value, conversation["claim"]) else "no"
    if conversation["form"] == "multiple_choice":
        return next((option for option in conversation["options"] if _same(value, option)), answer)
    return answer_text(conversation["question_name"], value)


def answer_text(question_name: str, value: str) -> str:
    """The answer to the open question when its field is `value`: drums are answered by yes or no."""
    if question_name == "drums":
        return "yes" if value == "drums" else "no"
    return value


def _step(observation: Mapping[str, Any]) -> str:
    template, _ = STEP_TEMPLATES[observation["field"]]
    start = observation["start"]
    return template.format(value=observation["value"], seconds=None if start is None else whole_seconds(start))


def _stated_value(conversation: Mapping[str, Any], observations: Sequence[Mapping[str, Any]]) -> str | None:
    """What the chain says about the question's field; None where it says nothing."""
    stated = {observation["field"]: str(observation["value"]) for observation in observations}
    if conversation["answer_from"] == "instruments":
        return _stated_instruments(conversation["value"].split(", "), stated)
    return stated.get(conversation["answer_from"])


def _stated_instruments(instruments: list[str], stated: Mapping[str, str]) -> str:
    """The instruments in order of entry, the first and the last of them as the chain names them."""
    first = stated.get("first_instrument", instruments[0])
    if len(instruments) == 1:
        return first
    last = stated.get("last_instrument", instruments[-1])
    return ", ".join(dict.fromkeys([first, *instruments[1:-1], last]))


def _same(value: str, other: str) -> bool:
    """Equal as lists without order, which is what the instruments of a cut are."""
    return set(value.split(", ")) == set(other.split(", "))
