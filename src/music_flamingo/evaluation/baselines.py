"""How well a question can be answered without listening.

Two guessers learn from the training split's answers and are scored on held-out questions as the model is:

majority            whatever would have been right most often in training, whichever the clip
best other answer   the same within the clips that share the answer to one other question; the other question
                    that serves best on the held-out clips is reported

A model has to beat the second before its score says anything about hearing. Guesses for questions with
options are made among the options. `corpora.songbook.leaks` asks the same of a whole corpus beforehand.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from music_flamingo.corpora.songbook.leaks import ABSENT, SYNONYMOUS
from music_flamingo.rewards.accuracy import AccuracyReward
from music_flamingo.rewards.reference import Reference

# Nearly every value of a BPM is a class of its own: as something known, its tempo class says it better.
_NOT_KNOWN = frozenset({"bpm"})


@dataclass(frozen=True)
class AskedQuestion:
    """One question about one clip, with the clip's answers to the others.

    Args:
        conversation: its id in the corpus.
        options: empty when the question is open.
        claim: what a yes-or-no question asks to confirm; None in other forms.
        known: true value by question name, for every question the clip answers.
    """

    conversation: str
    question_name: str
    form: str
    answer: str
    answer_type: str
    options: tuple[str, ...]
    claim: str | None
    known: Mapping[str, str]


@dataclass(frozen=True)
class Baselines:
    """Shares of held-out questions a guesser gets right; None where nothing can be learned or scored.

    Args:
        best_other_attribute: name of the question behind `best_other_answer`.
    """

    majority: float | None
    best_other_answer: float | None
    best_other_attribute: str | None


Agrees = Callable[[str, str, str], bool]
"""Whether (guess, answer, answer type) count as the same."""


def asked_questions(custom: Mapping[str, Any]) -> list[AskedQuestion]:
    """The questions in a cut's `custom`; captions ask nothing that could be guessed and are left out."""
    asked = [each for each in custom.get("conversations", ()) if each["task"] == "qa"]
    known = {each["question_name"]: each["answer"] for each in asked if each["form"] != "binary"}
    known |= {each["question_name"]: each["value"] for each in asked if "value" in each}
    return [
        AskedQuestion(
            conversation=each["id"],
            question_name=each["question_name"],
            form=each["form"],
            answer=each["answer"],
            answer_type=each.get("answer_type") or "text",
            options=tuple(each.get("options") or ()),
            claim=each.get("claim"),
            known=known,
        )
        for each in asked
    ]


def exact_agreement() -> Agrees:
    """The scorer of the exact accuracy reward, remembering its verdicts as guesses recur by the thousand."""
    reward = AccuracyReward()

    @cache
    def agrees(guess: str, answer: str, answer_type: str) -> bool:
        return reward.judge(guess, Reference("qa", "", answer, answer_type)).correct

    return agrees


def baselines(train: Iterable[AskedQuestion], test: Sequence[AskedQuestion], agrees: Agrees | None = None) -> Baselines:
    """Score both guessers on the held-out questions of one name.

    Args:
        train: may hold other questions too; only those with a name and form that `test` has are learned from.
        test: questions of one name.
        agrees: None scores as the exact accuracy reward does.
    """
    agrees = agrees or exact_agreement()
    kinds = {(question.question_name, question.form) for question in test}
    learned = [question for question in train if (question.question_name, question.form) in kinds]
    if not learned:
        return Baselines(None, None, None)
    # The majority may not even read the claim it is asked to confirm.
    unread = [replace(question, claim=None) for question in learned]
    majority = _Guesser(unread, None, agrees).score([replace(question, claim=None) for question in test])
    scores = {name: _Guesser(learned, name, agrees).score(test) for name in _others(test[0].question_name, learned)}
    best = max(scores, key=lambda name: scores[name], default=None)
    return Baselines(majority, None if best is None else scores[best], best)


def _others(question_name: str, questions: Iterable[AskedQuestion]) -> list[str]:
    """Names of the other questions whose answers do not give this one away by definition."""
    names = {name for question in questions for name in question.known} - _NOT_KNOWN - {question_name}
    return sorted(name for name in names if frozenset({name, question_name}) not in SYNONYMOUS)


class _Guesser:
    """Answers as training did where one other answer of the clip was the same.

    Args:
        other: name of the other question; None knows nothing of the clip.
    """

    def __init__(self, train: Iterable[AskedQuestion], other: str | None, agrees: Agrees) -> None:
        self.other = other
        self.agrees = agrees
        self.all: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.tables: defaultdict[tuple[str, str | None, str | None], Counter[str]] = defaultdict(Counter)
        self.guesses: dict[tuple[Any, ...], str] = {}
        for question in train:
            self.all[question.form][question.answer] += 1
            self.tables[self._key(question)][question.answer] += 1

    def score(self, test: Sequence[AskedQuestion]) -> float:
        """Share of questions guessed right."""
        right = [self.agrees(self._guess(question), question.answer, question.answer_type) for question in test]
        return sum(right) / len(right)

    def _key(self, question: AskedQuestion) -> tuple[str, str | None, str | None]:
        known = None if self.other is None else question.known.get(self.other, ABSENT)
        return question.form, question.claim, known

    def _guess(self, question: AskedQuestion) -> str:
        key = (*self._key(question), question.options)
        if key not in self.guesses:
            self.guesses[key] = self._most_often_right(question)
        return self.guesses[key]

    def _most_often_right(self, question: AskedQuestion) -> str:
        everything = self.all[question.form]
        # What training never met says nothing: guess as the majority does.
        seen = self.tables.get(self._key(question), everything)

        def hits(guess: str, answers: Counter[str]) -> int:
            return sum(n for answer, n in answers.items() if self.agrees(guess, answer, question.answer_type))

        candidates = question.options or sorted(everything)
        # Of equals the overall favourite, then the first: the same guess on every run.
        return max(candidates, key=lambda guess: (hits(guess, seen), hits(guess, everything)))
