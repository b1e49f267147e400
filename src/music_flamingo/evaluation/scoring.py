"""What one completion is worth: its answer, the verdict and its reason, the rewards, the judged thoughts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from music_flamingo.rewards.accuracy import AccuracyReward, Verdict
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import WeightedReward, combined_reward
from music_flamingo.rewards.think_steps import ThinkStepsReward, judge_steps, parse_steps
from music_flamingo.think_tags import ParsedCompletion, parse_completion, strip_end_tokens

CompletionMode = Literal["think", "direct"]


def score_completion(
    completion: str,
    conversation: Mapping[str, Any],
    custom: Mapping[str, Any],
    vocabulary: Mapping[str, Any] | None,
    rewards: Sequence[WeightedReward],
    mode: CompletionMode = "think",
) -> dict[str, Any]:
    """The fields of a row of predictions.jsonl that follow from the completion.

    Args:
        completion: what the model wrote.
        conversation: the question, one entry of the cut's `conversations`.
        custom: the cut's `custom` fields.
        vocabulary: content of the corpus' `vocabulary.json`; None leaves the thoughts unjudged.
        rewards: what the completion is scored by; its accuracy reward, or a plain one, also gives `correct`;
            times in the thoughts are checked as its think-steps reward does.
        mode: "think" reads the tagged blocks; "direct" takes the whole completion as the answer and scores
            nothing but its accuracy.

    Returns:
        answer, think (None where absent), correct (None for captions), why, rewards (name -> score, None
        where one abstains), reward (weighted sum, None where all abstain) and steps (field, value, true, and
        the statement as written in raw; the field of an unrecognised one is empty).

    Raises:
        UserError: the conversation is not complete.
    """
    reference = Reference.from_conversation(conversation, custom)
    parsed = parse_completion(completion) if mode == "think" else _untagged(completion)
    verdict = _verdict(parsed, reference, _accuracy(rewards))
    scores = _direct_scores(verdict, rewards) if mode == "direct" else _scores(completion, reference, rewards)
    reward = combined_reward(scores, {weighted.reward.name: weighted.weight for weighted in rewards})
    return {
        "answer": parsed.answer,
        "think": parsed.think,
        "correct": verdict.correct if verdict else None,
        "why": _why(parsed, verdict, scores),
        "rewards": scores,
        "reward": None if math.isnan(reward) else reward,
        "steps": _judged_steps(parsed.think, reference, vocabulary, _seconds_tolerance(rewards)),
    }


def _untagged(completion: str) -> ParsedCompletion:
    return ParsedCompletion(None, "", strip_end_tokens(completion).strip(), True, "")


def _accuracy(rewards: Sequence[WeightedReward]) -> AccuracyReward:
    given = (weighted.reward for weighted in rewards if isinstance(weighted.reward, AccuracyReward))
    return next(given, AccuracyReward())


def _seconds_tolerance(rewards: Sequence[WeightedReward]) -> float | None:
    given = (each.reward.seconds_tolerance for each in rewards if isinstance(each.reward, ThinkStepsReward))
    return next(given, None)


def _verdict(parsed: ParsedCompletion, reference: Reference, accuracy: AccuracyReward) -> Verdict | None:
    return accuracy.judge(parsed.answer, reference) if reference.task == "qa" else None


def _scores(completion: str, reference: Reference, rewards: Sequence[WeightedReward]) -> dict[str, float | None]:
    return {each.reward.name: each.reward(completion, reference) for each in rewards}


def _direct_scores(verdict: Verdict | None, rewards: Sequence[WeightedReward]) -> dict[str, float | None]:
    correct = float(verdict.correct) if verdict else None
    return {each.reward.name: correct if isinstance(each.reward, AccuracyReward) else None for each in rewards}


def _why(parsed: ParsedCompletion, verdict: Verdict | None, scores: Mapping[str, float | None]) -> str:
    form = f"; {parsed.problem}" if parsed.problem else ""
    if verdict is not None:
        return verdict.why + form
    given = [f"{name.replace('_', ' ')} {score:.2f}" for name, score in scores.items() if score is not None]
    return "caption: " + (", ".join(given) or "not scored") + form


def _judged_steps(
    think: str | None,
    reference: Reference,
    vocabulary: Mapping[str, Any] | None,
    seconds_tolerance: float | None,
) -> list[dict[str, Any]]:
    if think is None or vocabulary is None:
        return []
    steps = parse_steps(think, vocabulary["steps"])
    judged = judge_steps(steps, reference.observations, reference.observation_seconds, seconds_tolerance)
    return [{"field": step.field, "value": step.value, "true": is_true, "raw": step.raw} for step, is_true in judged]
