"""Can an answer be guessed without listening for it: as the most frequent one, or from another answer?

A model that names the meter at .62 may have learned no more than that full textures are in common time. So
every score is read beside two guesses, learned on the training pieces and scored on the test pieces.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from music_flamingo.corpora.songbook.distractors import BPM_RATIO
from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.questions import known_values

SYNONYMOUS: dict[frozenset[str], str] = {
    frozenset({"bpm", "tempo"}): "the tempo class is the BPM in three bins",
    frozenset({"key", "tonic"}): "the key names its tonic",
    frozenset({"key", "mode"}): "the key names its mode",
    frozenset({"instruments", "instrument"}): "the first instrument is one of the instruments",
    frozenset({"instruments", "last_instrument"}): "the last instrument is one of the instruments",
    frozenset({"instruments", "texture"}): "there is one instrument exactly in a solo",
    frozenset({"last_instrument", "texture"}): "an instrument joins exactly where it is no solo",
    frozenset({"entry_time", "texture"}): "an instrument joins exactly where it is no solo",
    frozenset({"entry_time", "last_instrument"}): "both are known exactly where an instrument joins",
    frozenset({"change", "change_time"}): "there is a time exactly where there is a change",
}
"""Pairs of questions of which one gives the other away by definition; a guess across them is no leak."""

ABSENT = "absent"
"""The answer to another question that the clip does not have; that alone can give something away."""


def leak_table(train_rows: Sequence[Mapping[str, Any]], test_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each question, how far one gets without listening for the answer.

    A guesser knows one other answer of the clip and says what went with it most often in training; an unseen
    answer falls back on the most frequent one. Of equally frequent answers the first in the alphabet is said.

    Args:
        train_rows: {"truth": ..., "piece": ...} of each training cut.
        test_rows: the same of each test cut.

    Returns:
        One row for each question the test cuts answer: question; n (test cuts); pieces (among them); classes
        (different answers, training and test); majority (accuracy of the most frequent training answer);
        best_attribute (the other question that helps most) and best_accuracy with it, None and 0 where no
        other question is left. BPM is binned: by 12 % as a question, by tempo class as an attribute.
    """
    train = [(_values(row), str(row["piece"])) for row in train_rows]
    test = [(_values(row), str(row["piece"])) for row in test_rows]
    questions = sorted({name for values, _ in test for name in values})
    return [_row(name, questions, train, test) for name in questions]


def format_leaks(table: Sequence[Mapping[str, Any]]) -> str:
    """The table as aligned text with a heading, shares with two decimals."""
    heading = f"{'question':<16} {'n':>6} {'pieces':>6} {'classes':>7} {'majority':>8} {'best':>5}  from"
    lines = [
        f"{row['question']:<16} {row['n']:>6} {row['pieces']:>6} {row['classes']:>7} {row['majority']:>8.2f} "
        f"{row['best_accuracy']:>5.2f}  {row['best_attribute'] or '-'}"
        for row in table
    ]
    return "\n".join([heading, *lines])


_Rows = Sequence[tuple[Mapping[str, str], str]]


def _values(row: Mapping[str, Any]) -> dict[str, str]:
    truth = row["truth"]
    metadata = {"bpm": str(truth["bpm"]), "key": f"{truth['tonic']} {truth['mode']}", "meter": truth["meter"]}
    return known_values(truth, observe(truth), metadata)


def _row(question: str, questions: Sequence[str], train: _Rows, test: _Rows) -> dict[str, Any]:
    train = [row for row in train if question in row[0]]
    test = [row for row in test if question in row[0]]
    answers = [_answer(values, question) for values, _ in test]
    train_answers = [_answer(values, question) for values, _ in train]
    others = [name for name in questions if name != question and frozenset({name, question}) not in SYNONYMOUS]
    accuracies = {name: _accuracy(question, name, train, test) for name in others}
    best = max(accuracies, key=lambda name: accuracies[name], default=None)
    return {
        "question": question,
        "n": len(test),
        "pieces": len({piece for _, piece in test}),
        "classes": len({*answers, *train_answers}),
        "majority": _share([answer == _most_frequent(train_answers) for answer in answers]),
        "best_attribute": best,
        "best_accuracy": 0.0 if best is None else accuracies[best],
    }


def _accuracy(question: str, attribute: str, train: _Rows, test: _Rows) -> float:
    answers_by_value: dict[str, list[str]] = defaultdict(list)
    for values, _ in train:
        answers_by_value[_attribute(values, attribute)].append(_answer(values, question))
    guesses = {value: _most_frequent(answers) for value, answers in answers_by_value.items()}
    majority = _most_frequent([_answer(values, question) for values, _ in train])
    return _share(
        [guesses.get(_attribute(values, attribute), majority) == _answer(values, question) for values, _ in test]
    )


def _answer(values: Mapping[str, str], question: str) -> str:
    """The answer as a class: BPM in bins as wide as the distance between two options."""
    value = values[question]
    return str(round(math.log(float(value), BPM_RATIO))) if question == "bpm" else value


def _attribute(values: Mapping[str, str], name: str) -> str:
    return values.get("tempo" if name == "bpm" else name, ABSENT)


def _most_frequent(answers: Sequence[str]) -> str | None:
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer), default=None)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)
