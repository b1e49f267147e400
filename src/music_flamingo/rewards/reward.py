"""What a reward is, and how the rewards of one completion add up."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from music_flamingo.rewards.reference import Reference


class Reward(ABC):
    """Scores one completion against the truth. Recipes name subclasses by `class_path`.

    Attributes:
        name: key of the reward in logs and predictions, unique within a recipe.
    """

    name: str

    @abstractmethod
    def __call__(self, completion: str, reference: Reference) -> float | None:
        """Score a completion.

        Args:
            completion: what the model wrote, special tokens stripped or not.
            reference: the truth.

        Returns:
            the reward; None where it does not apply (it abstains). Never raises for any completion.
        """


@dataclass(frozen=True)
class WeightedReward:
    """A reward and its factor in the sum that is trained on.

    Attributes:
        reward: what is scored.
        weight: factor; the paper does not state any, so that the sum is taken to be plain.
    """

    reward: Reward
    weight: float = 1.0


def combined_reward(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    """Weighted sum of the rewards that apply.

    Args:
        scores: reward name -> score, None where the reward abstains.
        weights: reward name -> factor.

    Returns:
        the sum; NaN when every reward abstains, which gives the completion no advantage.

    Raises:
        ValueError: a reward has no weight.
    """
    missing = sorted(set(scores) - set(weights))
    if missing:
        raise ValueError(
            f"no weight for reward {', '.join(missing)}; weights are given for {', '.join(sorted(weights))}"
        )
    applying = [weights[name] * score for name, score in scores.items() if score is not None]
    return math.fsum(applying) if applying else math.nan
