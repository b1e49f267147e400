"""Rewards: pure functions of one completion and the truth about its question."""

from music_flamingo.rewards.accuracy import AccuracyReward
from music_flamingo.rewards.format import FormatReward
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.reward import Reward, WeightedReward, combined_reward
from music_flamingo.rewards.structured_thinking import StructuredThinkingReward
from music_flamingo.rewards.think_steps import ThinkStepsReward

__all__ = [
    "AccuracyReward",
    "FormatReward",
    "Reference",
    "Reward",
    "StructuredThinkingReward",
    "ThinkStepsReward",
    "WeightedReward",
    "combined_reward",
]
