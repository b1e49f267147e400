import json
import math

import pytest
from jsonargparse import ArgumentParser

from music_flamingo.rewards import (
    AccuracyReward,
    FormatReward,
    ThinkStepsReward,
    WeightedReward,
    combined_reward,
)


def test_rewards_add_up_by_weight_and_abstentions_do_not_count() -> None:
    scores = {"format": 1.0, "accuracy": 0.5, "think_steps": None}
    assert combined_reward(scores, {"format": 0.5, "accuracy": 2.0, "think_steps": 9.0}) == 1.5


def test_a_completion_on_which_all_abstain_has_no_reward() -> None:
    assert math.isnan(combined_reward({"accuracy": None}, {"accuracy": 1.0}))


def test_a_reward_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="no weight for reward format; weights are given for accuracy"):
        combined_reward({"format": 1.0}, {"accuracy": 1.0})


class Stage:
    def __init__(self, rewards: list[WeightedReward]) -> None:
        self.rewards = rewards


def instantiate(rewards: list[dict]) -> list[WeightedReward]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Stage, "stage")
    return parser.instantiate(parser.parse_object({"stage": {"rewards": rewards}})).stage.rewards


def test_a_recipe_names_rewards_and_weights(tmp_path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({"steps": {"drums": {"template": "with {value}", "values": ["drums", "no drums"]}}}))
    steps = {"class_path": "music_flamingo.rewards.ThinkStepsReward", "init_args": {"vocabulary": str(path)}}
    accuracy = {"class_path": "AccuracyReward"}
    rewards = instantiate([{"reward": steps, "weight": 0.5}, {"reward": accuracy}])
    assert [type(each.reward) for each in rewards] == [ThinkStepsReward, AccuracyReward]
    assert [each.weight for each in rewards] == [0.5, 1.0]


def test_a_recipe_may_also_name_the_weighted_reward_itself() -> None:
    reward = {"class_path": "music_flamingo.rewards.FormatReward", "init_args": {"mode": "strict"}}
    rewards = instantiate(
        [
            {
                "class_path": "music_flamingo.rewards.WeightedReward",
                "init_args": {"reward": reward, "weight": 2},
            }
        ]
    )
    assert isinstance(rewards[0].reward, FormatReward)
    assert (rewards[0].reward.mode, rewards[0].weight) == ("strict", 2)


def test_a_recipe_cannot_name_a_class_that_is_no_reward() -> None:
    with pytest.raises(Exception, match="does not correspond to a subclass of Reward"):
        instantiate([{"reward": {"class_path": "music_flamingo.errors.UserError"}}])
