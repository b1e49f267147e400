"""From predictions to numbers: accuracies, mean rewards and what completions look like.

Means weigh every conversation the same, however many completions were sampled for it, and their 95 %
intervals resample whole pieces, because clips of one piece succeed and fail together.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from music_flamingo.evaluation.intervals import Interval, bootstrap_interval, rate_interval, wilson_interval
from music_flamingo.evaluation.prediction import Prediction
from music_flamingo.rewards.mention import mentioned_words, word_pattern
from music_flamingo.rewards.normalise import fold, normalise_text


@dataclass(frozen=True)
class Decoding:
    """Which completions a number is about.

    Args:
        temperature: None accepts any.
        audio: "own" or "other".
    """

    decoding: str
    temperature: float | None = None
    audio: str = "own"

    def select(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """The predictions made this way, in order."""
        return [each for each in predictions if self._holds(each)]

    def _holds(self, prediction: Prediction) -> bool:
        same_temperature = self.temperature is None or prediction.temperature == self.temperature
        return prediction.decoding == self.decoding and prediction.audio == self.audio and same_temperature


GREEDY = Decoding("greedy")
GREEDY_OTHER_AUDIO = Decoding("greedy", audio="other")
SAMPLED = Decoding("sampled", temperature=1.0)
SAMPLED_COOLER = Decoding("sampled", temperature=0.5)

Measure = Callable[[Prediction], float | None]
"""A number about one completion; None leaves the completion out."""


def by_question(predictions: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    """Answered questions by name, in order of appearance; captions are scored by rewards, not here."""
    groups: defaultdict[str, list[Prediction]] = defaultdict(list)
    for each in predictions:
        if each.correct is not None:
            groups[each.question_name].append(each)
    return dict(groups)


def correctness(prediction: Prediction) -> float | None:
    """1 for a correct answer, 0 for a wrong one, None for a caption."""
    return None if prediction.correct is None else float(prediction.correct)


def total_reward(prediction: Prediction) -> float | None:
    """The weighted sum of all rewards."""
    return prediction.reward


def named_reward(name: str) -> Measure:
    """The measure of one reward by its name; None where it abstained."""
    return lambda prediction: (prediction.rewards or {}).get(name)


def mean(predictions: Iterable[Prediction], measure: Measure) -> float | None:
    """Mean over conversations; None when nothing is measured."""
    values = [value for value, _ in _by_conversation(predictions, measure).values()]
    return fmean(values) if values else None


def accuracy(predictions: Iterable[Prediction]) -> dict[str, Any] | None:
    """Share of correct answers, as `mean_with_interval`.

    Resampling answers that are all right, or all wrong, gives no width at all; Wilson's interval over the
    pieces stands in, so that 8 of 8 does not look certain.
    """
    values = _by_conversation(predictions, correctness).values()
    summary, num_pieces = _summary(list(values)), len({piece for _, piece in values})
    if summary is not None and summary["mean"] in (0.0, 1.0):
        summary["interval"] = _bounds(wilson_interval(round(summary["mean"]) * num_pieces, num_pieces))
    return summary


def mean_with_interval(predictions: Iterable[Prediction], measure: Measure) -> dict[str, Any] | None:
    """Mean, 95 % interval over pieces, and the number of conversations; None when nothing is measured.

    Returns:
        {"mean", "interval": [low, high], "n"}; the interval is None when all are about one piece.
    """
    return _summary(list(_by_conversation(predictions, measure).values()))


def error_rates(predictions: Iterable[Prediction]) -> dict[str, dict[str, Any]]:
    """By language: errors of all transcripts over their lengths, with the 95 % interval over pieces.

    Returns:
        language -> {"unit", "rate", "interval", "inserted" (a part of the rate), "length", "n" (transcripts)}.
    """
    groups: defaultdict[str, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    for each in predictions:
        if each.transcript is not None:
            groups[each.transcript["language"]].append((each.transcript, each.piece))
    return {language: _error_rate(groups[language]) for language in sorted(groups)}


def _error_rate(transcripts: Sequence[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    counts, pieces = [each for each, _ in transcripts], [piece for _, piece in transcripts]
    found = rate_interval([each["errors"] for each in counts], [each["length"] for each in counts], pieces)
    length = sum(each["length"] for each in counts)
    return {
        "unit": counts[0]["unit"],
        "rate": found.mean,
        "interval": _bounds(found),
        "inserted": sum(each["inserted"] for each in counts) / length,
        "length": length,
        "n": found.num_values,
    }


def paired_difference(
    after: Iterable[Prediction], before: Iterable[Prediction], measure: Measure
) -> dict[str, Any] | None:
    """Mean of after - before over the conversations both have, with its interval over pieces.

    Returns:
        As `mean_with_interval`, and `unpaired`: conversations only one side has. None when no pair exists.
    """
    left, right = _by_conversation(after, measure), _by_conversation(before, measure)
    common = [key for key in left if key in right]
    summary = _summary([(left[key][0] - right[key][0], left[key][1]) for key in common])
    if summary is not None:
        summary["unpaired"] = len(left) + len(right) - 2 * len(common)
    return summary


def _by_conversation(predictions: Iterable[Prediction], measure: Measure) -> dict[str, tuple[float, str]]:
    """Mean value and piece of every conversation that has a value."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    pieces: dict[str, str] = {}
    for each in predictions:
        value = measure(each)
        if value is not None:
            values[each.conversation].append(value)
            pieces[each.conversation] = each.piece
    return {key: (fmean(found), pieces[key]) for key, found in values.items()}


def _summary(values: Sequence[tuple[float, str]]) -> dict[str, Any] | None:
    if not values:
        return None
    found = bootstrap_interval([value for value, _ in values], [piece for _, piece in values])
    return {"mean": found.mean, "interval": _bounds(found), "n": found.num_values}


def _bounds(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval.low) else [interval.low, interval.high]


def reward_names(predictions: Iterable[Prediction]) -> list[str]:
    """Names of all rewards given, in order of appearance."""
    return list(dict.fromkeys(name for each in predictions for name in each.rewards or {}))


def false_step_share(predictions: Iterable[Prediction]) -> float | None:
    """False steps among all checked steps; None when no step was checked."""
    verdicts = [step["true"] for each in predictions for step in each.steps or () if step.get("true") is not None]
    return verdicts.count(False) / len(verdicts) if verdicts else None


def step_coverage(predictions: Iterable[Prediction], observed: Callable[[str], Mapping[str, str]]) -> float | None:
    """True fields stated among all fields that could be noted; a field stated twice counts once.

    Only completions that were made with thinking count.

    Args:
        predictions: with their checked steps.
        observed: value by field for a cut id; empty when the cut is unknown.
    """
    stated = possible = 0
    for each in predictions:
        fields = observed(each.cut)
        if each.mode == "think" and fields:
            possible += len(fields)
            stated += len({step["field"] for step in each.steps or () if step.get("true")} & set(fields))
    return stated / possible if possible else None


def repeated_value_share(captions: Iterable[str], values: Iterable[str]) -> float | None:
    """Mentions of a known value beyond its first in a caption, among all mentions; None without mentions.

    Keyword dumps raise a precision reward and show here.

    Args:
        captions: texts without tags.
        values: what the corpus' words can say, for example "flute" or "4/4".
    """
    words = sorted({normalise_text(value) for value in values})
    pattern = word_pattern(words)
    if pattern is None:
        return None
    counts = [Counter(mentioned_words(pattern, fold(caption), words)) for caption in captions]
    mentions = sum(count.total() for count in counts)
    return sum(count.total() - len(count) for count in counts) / mentions if mentions else None


def systematic_accuracy(predictions: Iterable[Prediction], mislabelled: Iterable[str]) -> dict[str, Any] | None:
    """Accuracy where the truth is an instrument the training labels systematically called another name."""
    names = {name.lower() for name in mislabelled}
    return accuracy(each for each in predictions if each.truth.lower() in names)
