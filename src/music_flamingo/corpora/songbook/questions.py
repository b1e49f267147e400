"""Questions about a cut whose answers its score knows: each as multiple choice, as yes or no, and open.

Multiple choices are worded as in MF-Think, and the answer is the option's text, not its letter. Half of the
binary claims are true. Whether to think is not asked for here: the data module adds that.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from music_flamingo.corpora.songbook.captions import caption_text
from music_flamingo.corpora.songbook.distractors import wrong_values
from music_flamingo.corpora.songbook.traces import answer_text, whole_seconds
from music_flamingo.corpora.songbook.wording import CAPTION_PROMPTS, WORDINGS, Wording

_LETTERS = "ABCDEFGH"
_MIN_OPTIONS = 3
_INTO_CHORD_SECONDS = 0.2
"""A chord lasts 0.4 s or more: so long after its start it surely sounds."""


def ask(
    truth: Mapping[str, Any],
    observations: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str],
    *,
    cut_id: str,
    tradition: str,
    rng: random.Random,
) -> list[dict[str, Any]]:
    """Every question the score answers, in three forms, and the caption.

    Args:
        truth: of the cut.
        observations: `observations.observe(truth)`.
        metadata: `captions.metadata(truth, tradition)`.
        cut_id: the conversations' ids are `<cut id>-<question name>-<form>`.
        tradition: what the caption calls the piece where it is no dance.
        rng: chooses wordings, options, their order and claims.

    Returns:
        Conversations: id, task, question_name, form, question, answer, answer_type, answer_from (the field of
        truth or observations that the answer follows from; None for the caption); `options` of
        multiple_choice and binary, `answer_letter` of multiple_choice. Questions also have `value`, the truth
        in the words of its field, and binary ones `claim`, the value they ask to confirm.
    """
    conversations = []
    for name, value in known_values(truth, observations, metadata).items():
        question = _Question(name, value, truth, rng)
        conversations += [
            {"id": f"{cut_id}-{name}-{conversation['form']}", **conversation} for conversation in question.forms()
        ]
    return [*conversations, _caption(truth, cut_id, tradition, rng)]


def known_values(
    truth: Mapping[str, Any], observations: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]
) -> dict[str, str]:
    """Question name -> true value in the words of its field, for the questions that the score answers.

    Times are whole seconds. "none" is the value of change where there is none.
    """
    noted = {observation["field"]: observation for observation in observations}
    values = {
        "instrument": noted["first_instrument"]["value"],
        "instruments": ", ".join(truth["instruments"]),
        "drums": noted["drums"]["value"],
        "tempo": noted["tempo"]["value"],
        "bpm": metadata["bpm"],
        "meter": metadata["meter"],
        "tonic": truth["tonic"],
        "mode": truth["mode"],
        "key": metadata["key"],
        "change": noted["change"]["value"] if "change" in noted else "none",
    }
    if "last_instrument" in noted:
        values["last_instrument"] = noted["last_instrument"]["value"]
        values["entry_time"] = str(whole_seconds(noted["last_instrument"]["start"]))
    if "texture" in noted:
        values["texture"] = noted["texture"]["value"]
    if "change" in noted:
        values["change_time"] = str(whole_seconds(noted["change"]["start"]))
    return values | _score_values(truth)


def _score_values(truth: Mapping[str, Any]) -> dict[str, str]:
    """What only some pieces have: a clear chord, sections, a dance."""
    values = {}
    if truth["chord"] is not None:
        values["chord"] = truth["chord"]["name"]
    if truth["sections"] is not None:
        values["sections"] = ", ".join(truth["sections"])
    if truth["dance"] is not None:
        values["dance"] = truth["dance"]
    return values


class _Question:
    """One question about one cut, in its three forms."""

    def __init__(self, name: str, value: str, truth: Mapping[str, Any], rng: random.Random) -> None:
        self.name = name
        self.value = value
        self.wording: Wording = WORDINGS[name]
        self.rng = rng
        chord = truth["chord"] if name == "chord" else None
        self.at = "" if chord is None else f"{chord['start'] + _INTO_CHORD_SECONDS:.1f}"
        self.partners = [instrument for instrument in truth["instruments"] if instrument != value]

    def forms(self) -> list[dict[str, Any]]:
        """Multiple choice (where there are three options or more), binary, open."""
        return [*self._multiple_choice(), self._binary(), self._open()]

    def _open(self) -> dict[str, Any]:
        answer = answer_text(self.name, self.value)
        return self._conversation("open", self._asked(), answer, answer_type=self.wording.answer_type)

    def _multiple_choice(self) -> list[dict[str, Any]]:
        options = [self.value, *self._wrong(self.wording.num_options - 1)]
        if len(options) < _MIN_OPTIONS:
            return []
        self.rng.shuffle(options)
        lines = [f"- {letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]
        question = "\n".join([f"{self._asked()} Choose from the following options", *lines])
        letter = _LETTERS[options.index(self.value)]
        return [
            self._conversation(
                "multiple_choice",
                question,
                self.value,
                answer_type=self.wording.answer_type,
                options=options,
                answer_letter=letter,
            )
        ]

    def _binary(self) -> dict[str, Any]:
        is_true = self.rng.choice((True, False))
        claim = self.value if is_true else self._wrong(1)[0]
        phrase = self.wording.phrases.get(claim, claim)
        question = self.rng.choice(self.wording.claims).format(value=phrase, at=self.at)
        answer = "yes" if is_true else "no"
        return self._conversation("binary", question, answer, options=["yes", "no"], claim=claim)

    def _asked(self) -> str:
        return self.rng.choice(self.wording.asks).format(at=self.at)

    def _wrong(self, count: int) -> list[str]:
        if count < 1:
            return []
        # The cut's other instrument is the best of several wrong options; a lone one may be any instrument.
        preferred = self.partners if self.name in ("instrument", "last_instrument") and count > 1 else ()
        field = self.name if self.name in ("entry_time", "change_time") else self.wording.field
        return wrong_values(field, self.value, count, self.rng, preferred=preferred)

    def _conversation(
        self, form: str, question: str, answer: str, *, answer_type: str = "text", **extra: Any
    ) -> dict[str, Any]:
        return {
            "task": "qa",
            "question_name": self.name,
            "form": form,
            "question": question,
            "answer": answer,
            "answer_type": answer_type,
            "answer_from": self.wording.field,
            "value": self.value,
            **extra,
        }


def _caption(truth: Mapping[str, Any], cut_id: str, tradition: str, rng: random.Random) -> dict[str, Any]:
    return {
        "id": f"{cut_id}-caption-caption",
        "task": "caption",
        "question_name": "caption",
        "form": "caption",
        "question": rng.choice(CAPTION_PROMPTS),
        "answer": caption_text(truth, tradition),
        "answer_type": "text",
        "answer_from": None,
    }
