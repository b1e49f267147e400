import json
import time

import pytest

from music_flamingo.errors import UserError
from music_flamingo.evaluation.scoring import score_completion
from music_flamingo.rewards import (
    AccuracyReward,
    FormatReward,
    StructuredThinkingReward,
    ThinkStepsReward,
    WeightedReward,
)

VOCABULARY = {
    "fields": {"instruments": ["flute", "violin"]},
    "steps": {
        "first_instrument": {"template": "at {seconds} s the {value} begins", "values": ["flute", "violin"]},
        "drums": {"template": "with {value}", "values": ["drums", "no drums"]},
    },
}
QUESTION = {
    "id": "q",
    "task": "qa",
    "question": "Which instrument?",
    "answer": "flute",
    "answer_type": "text",
}
CAPTION = {"id": "c", "task": "caption", "question": "Describe it.", "answer": "for flute ."}
CUSTOM = {
    "metadata": {"instruments": "flute"},
    "observations": [
        {"field": "first_instrument", "value": "flute", "start": 0.0},
        {"field": "drums", "value": "drums", "start": None},
    ],
}
REWARDS = [
    WeightedReward(FormatReward(), 0.5),
    WeightedReward(AccuracyReward()),
    WeightedReward(StructuredThinkingReward(VOCABULARY), 2.0),
    WeightedReward(ThinkStepsReward(VOCABULARY)),
]
THINK = "<think> at 0 s the flute begins . with no drums . </think> hence : "


def test_a_right_answer_with_one_false_thought() -> None:
    row = score_completion(THINK + "<answer> flute </answer>", QUESTION, CUSTOM, VOCABULARY, REWARDS)
    assert row == {
        "answer": "flute",
        "think": "at 0 s the flute begins . with no drums .",
        "correct": True,
        "why": "said flute, truth flute",
        "rewards": {"format": 1.0, "accuracy": 1.0, "structured_thinking": None, "think_steps": 0.0},
        "reward": 1.5,
        "steps": [
            {"field": "first_instrument", "value": "flute", "true": True, "raw": "at 0 s the flute begins"},
            {"field": "drums", "value": "no drums", "true": False, "raw": "with no drums"},
        ],
    }


def test_a_wrong_answer_says_what_was_said() -> None:
    row = score_completion(THINK + "<answer> violin </answer>", QUESTION, CUSTOM, VOCABULARY, REWARDS)
    assert (row["correct"], row["why"]) == (False, "said violin, truth flute")


def test_a_caption_is_neither_right_nor_wrong() -> None:
    row = score_completion(THINK + "<answer> for flute . </answer>", CAPTION, CUSTOM, VOCABULARY, REWARDS)
    assert row["correct"] is None
    assert row["rewards"] == {"format": 1.0, "accuracy": None, "structured_thinking": 1.0, "think_steps": 0.0}
    assert row["reward"] == 2.5
    assert row["why"] == "caption: format 1.00, structured thinking 1.00, think steps 0.00"


def test_an_ill_formed_completion_says_what_is_wrong_with_it() -> None:
    row = score_completion("<think> x </think> <answer> flute", QUESTION, CUSTOM, VOCABULARY, REWARDS)
    # "x" states nothing: minus one of two observed fields.
    assert (row["answer"], row["correct"], row["reward"]) == (None, False, -0.5)
    assert row["why"] == "no single answer, truth flute; </answer> is missing"


def test_a_direct_answer_is_scored_for_accuracy_alone() -> None:
    row = score_completion("flute <|im_end|>", QUESTION, CUSTOM, VOCABULARY, REWARDS, "direct")
    assert (row["answer"], row["think"], row["correct"], row["steps"]) == ("flute", None, True, [])
    assert row["rewards"] == {
        "format": None,
        "accuracy": 1.0,
        "structured_thinking": None,
        "think_steps": None,
    }
    assert row["reward"] == 1.0


def test_a_direct_caption_has_no_reward() -> None:
    row = score_completion("for flute .", CAPTION, CUSTOM, VOCABULARY, REWARDS, "direct")
    assert (row["answer"], row["correct"], row["reward"]) == ("for flute .", None, None)
    assert row["why"] == "caption: not scored"


def test_without_rewards_and_vocabulary_the_answer_is_judged_all_the_same() -> None:
    row = score_completion(THINK + "<answer> flute </answer>", QUESTION, CUSTOM, None, [])
    assert (row["correct"], row["rewards"], row["reward"], row["steps"]) == (True, {}, None, [])


def test_times_are_judged_as_the_reward_judges_them() -> None:
    late = "<think> at 9 s the flute begins . </think> <answer> flute </answer>"
    strict = [WeightedReward(ThinkStepsReward(VOCABULARY, seconds_tolerance=1.0))]
    assert score_completion(late, QUESTION, CUSTOM, VOCABULARY, REWARDS)["steps"][0]["true"] is True
    assert score_completion(late, QUESTION, CUSTOM, VOCABULARY, strict)["steps"][0]["true"] is False


def test_the_settings_of_the_accuracy_reward_decide() -> None:
    tempo = QUESTION | {"answer": "96", "answer_type": "bpm"}
    exact, loose = ([WeightedReward(AccuracyReward(bpm_tolerance=share))] for share in (0.0, 0.1))
    assert score_completion("100", tempo, CUSTOM, None, exact, "direct")["correct"] is False
    assert score_completion("100", tempo, CUSTOM, None, loose, "direct")["correct"] is True


def test_a_row_is_plain_json() -> None:
    for completion in ("", "ש" * 50, THINK + "<answer> flute </answer>"):
        row = score_completion(completion, QUESTION, CUSTOM, VOCABULARY, REWARDS)
        assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_a_conversation_without_answer_is_refused() -> None:
    with pytest.raises(UserError, match="conversation q: answer missing"):
        score_completion("flute", {"id": "q", "task": "qa", "question": "?"}, CUSTOM, None, [])


@pytest.mark.parametrize("mode", ["think", "direct"])
def test_a_megabyte_is_scored_in_50_milliseconds(mode) -> None:
    completion = "<think> x </think> <answer> " + "flute " * 170_000 + "</answer>"
    start = time.process_time()
    score_completion(completion, QUESTION, CUSTOM, VOCABULARY, REWARDS, mode)
    assert time.process_time() - start < 0.5
