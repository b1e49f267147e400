"""Policy-gradient losses of GRPO and its variants, on completions of unequal length without padding.

The tokens of all completions lie one behind the other in vectors (L,). `sequence_index` (L,) says which
completion, 0 .. B*G - 1, a token belongs to; completions of one prompt are neighbours. Everything is computed
in float32.

Sources: GRPO: DeepSeekMath (arXiv:2402.03300) section 4.1, as used by Music Flamingo (arXiv:2511.10289)
section 3.3; Dr. GRPO (arXiv:2503.20783) section 3; DAPO (arXiv:2503.14476) section 3.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from music_flamingo.errors import UserError

# exp overflows float32 past 88; an infinite ratio times the advantage 0 of an abstention would be NaN.
_MAX_LOG_RATIO = 20.0


class PolicyTerms(NamedTuple):
    """What to watch beside the loss: detached scalars, means over all tokens.

    Attributes:
        clipped_share: share of tokens whose ratio is clipped, so that they have no gradient.
        mean_ratio: new over old probability.
        approx_kl: KL divergence of the new from the old policy by the k3 estimator, nats per token.
    """

    clipped_share: Tensor
    mean_ratio: Tensor
    approx_kl: Tensor


def group_advantages(rewards: Tensor, normalize_std: bool = True) -> Tensor:
    """Reward of each completion relative to the others for the same prompt.

    Args:
        rewards: (B, G); NaN marks an abstention, which the mean and the deviation leave out.
        normalize_std: divide by the group's standard deviation, the sample's (over n - 1), as GRPO does;
            False is Dr. GRPO.

    Returns:
        (B, G) float32; 0 for abstentions and for groups with equal rewards or a single one.

    Raises:
        ValueError: not two dimensions, or G < 2, as a group of one has no baseline.

    Source: DeepSeekMath (arXiv:2402.03300) section 4.1.2; Dr. GRPO (arXiv:2503.20783) section 3.
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2:  # noqa: PLR2004
        raise ValueError(
            f"rewards must be (B, G) with G >= 2: a group of one has no baseline; got {tuple(rewards.shape)}"
        )
    rewards = rewards.double()
    given = ~rewards.isnan()
    count = given.sum(dim=1, keepdim=True)
    centred = (rewards - rewards.nanmean(dim=1, keepdim=True)).where(given, 0.0)
    std = (centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    # Rounding leaves about 1e-16 between equal rewards; a group whose rewards agree teaches nothing.
    centred = centred.where(std > 1e-8, 0.0)  # noqa: PLR2004
    return (centred / std.where(std > 1e-8, 1.0) if normalize_std else centred).float()  # noqa: PLR2004


def clipped_objective(
    logprobs: Tensor,
    old_logprobs: Tensor,
    token_advantages: Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
) -> tuple[Tensor, PolicyTerms]:
    """The smaller of ratio * advantage and clipped ratio * advantage, token by token.

    Args:
        logprobs: (L,) of the policy under training, nats.
        old_logprobs: (L,) of the policy that sampled.
        token_advantages: (L,) advantage of the completion each token belongs to.
        epsilon: the ratio is clipped below at 1 - epsilon.
        epsilon_high: and above at 1 + epsilon_high; None means epsilon.

    Returns:
        (L,) objective, to be made large, and what to log.
    """
    log_ratio = (logprobs.float() - old_logprobs.float().detach()).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    clipped_ratio = ratio.clamp(1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high))
    unclipped, clipped = ratio * token_advantages, clipped_ratio * token_advantages
    return torch.minimum(unclipped, clipped), _policy_terms(clipped < unclipped, log_ratio.detach())


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """KL divergence from the reference policy, estimated token by token (k3): never negative, unbiased.

    Args:
        logprobs: (L,) of the policy under training, nats.
        ref_logprobs: (L,) of the reference.

    Returns:
        (L,) nats.

    Source: DeepSeekMath (arXiv:2402.03300) equation 4.
    """
    log_ratio = (ref_logprobs.float().detach() - logprobs.float()).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return torch.expm1(log_ratio) - log_ratio


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, sequence_index: Tensor) -> Tensor:
    """The penalty that GRPO adds times beta: mean over completions of the mean over tokens of `kl_per_token`.

    Args:
        logprobs: (L,) of the policy under training, nats.
        ref_logprobs: (L,) of the reference.
        sequence_index: (L,) integers, the completion of each token; those without tokens are not counted.

    Returns:
        a scalar, nats; 0 without tokens.
    """
    num_sequences = len(torch.unique(sequence_index))
    return GRPOLoss().average(kl_per_token(logprobs, ref_logprobs), sequence_index, num_sequences)


@dataclass(frozen=True, kw_only=True)
class PolicyLoss(ABC):
    """The clipped policy loss; subclasses differ in how they average over tokens.

    Attributes:
        epsilon: clipping range of the probability ratio.
        epsilon_high: its upper range where it differs; None means epsilon.

    Raises:
        UserError: a range that is not above 0, or epsilon of 1 or more.
    """

    epsilon: float = 0.2
    epsilon_high: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.epsilon < 1 or (self.epsilon_high is not None and self.epsilon_high <= 0):
            raise UserError(
                f"{type(self).__name__}: epsilon must lie between 0 and 1 and epsilon_high above 0, "
                f"not {self.epsilon} and {self.epsilon_high}"
            )

    def __call__(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, sequence_index: Tensor
    ) -> tuple[Tensor, PolicyTerms]:
        """The loss to be made small.

        Args:
            logprobs: (L,) of the policy under training, nats.
            old_logprobs: (L,) of the policy that sampled.
            advantages: (B*G,) one per completion.
            sequence_index: (L,) integers, the completion of each token.

        Returns:
            loss, a scalar, and what to log.

        Raises:
            ValueError: vectors of unequal length, or advantages that are no vector.
        """
        lengths = {tuple(vector.shape) for vector in (logprobs, old_logprobs, sequence_index)}
        if len(lengths) != 1 or logprobs.dim() != 1 or advantages.dim() != 1:
            raise ValueError(
                "expected vectors: logprobs, old_logprobs and sequence_index (L,), advantages (B*G,); got "
                f"{[tuple(vector.shape) for vector in (logprobs, old_logprobs, sequence_index, advantages)]}"
            )
        token_advantages = advantages.detach().float()[sequence_index]
        objective, terms = clipped_objective(
            logprobs, old_logprobs, token_advantages, epsilon=self.epsilon, epsilon_high=self.epsilon_high
        )
        return -self.average(objective, sequence_index, len(advantages)), terms

    def weight(self, num_sequences: int, num_tokens: int) -> float:
        """Of a row's loss beside other rows': as many as it is the mean over, so that all together are one mean."""
        return float(num_sequences)

    @abstractmethod
    def average(self, values: Tensor, sequence_index: Tensor, num_sequences: int) -> Tensor:
        """Average over tokens as this loss weighs them.

        Args:
            values: (L,) one per token.
            sequence_index: (L,) the completion of each token.
            num_sequences: completions, B*G, those without tokens included.

        Returns:
            a scalar; 0 without tokens.
        """


@dataclass(frozen=True, kw_only=True)
class GRPOLoss(PolicyLoss):
    """GRPO: the mean over completions of the mean over each one's tokens.

    Source: DeepSeekMath (arXiv:2402.03300) equation 3; Music Flamingo (arXiv:2511.10289) section 3.3.
    """

    def average(self, values: Tensor, sequence_index: Tensor, num_sequences: int) -> Tensor:
        """Mean of the completions' means; a completion without tokens counts as 0."""
        num_tokens = torch.bincount(sequence_index, minlength=num_sequences)
        return (values / num_tokens[sequence_index]).sum() / max(1, num_sequences)


@dataclass(frozen=True, kw_only=True)
class DrGRPOLoss(PolicyLoss):
    """Dr. GRPO: the sum over tokens by a constant, so that long wrong completions are not let off.

    Give it advantages that are not divided by the standard deviation.

    Attributes:
        max_completion_length: tokens a completion may have.

    Raises:
        UserError: a length below 1, or see `PolicyLoss`.

    Source: Dr. GRPO (arXiv:2503.20783) section 3.
    """

    max_completion_length: int

    def __post_init__(self) -> None:
        """Check the length."""
        super().__post_init__()
        if self.max_completion_length < 1:
            raise UserError(f"DrGRPOLoss: max_completion_length must be 1 or more, not {self.max_completion_length}")

    def average(self, values: Tensor, sequence_index: Tensor, num_sequences: int) -> Tensor:
        """Sum over `num_sequences * max_completion_length`."""
        return values.sum() / max(1, num_sequences * self.max_completion_length)


@dataclass(frozen=True, kw_only=True)
class DAPOLoss(PolicyLoss):
    """DAPO: the mean over all tokens of the batch, with more room upwards (clip-higher).

    Source: DAPO (arXiv:2503.14476) sections 3.1 and 3.3.
    """

    epsilon_high: float | None = 0.28

    def average(self, values: Tensor, sequence_index: Tensor, num_sequences: int) -> Tensor:
        """Mean over tokens, whatever completion they belong to."""
        return values.sum() / max(1, len(values))

    def weight(self, num_sequences: int, num_tokens: int) -> float:
        """Tokens."""
        return float(num_tokens)


def _policy_terms(is_clipped: Tensor, log_ratio: Tensor) -> PolicyTerms:
    num_tokens = max(1, len(log_ratio))
    ratio = log_ratio.exp()
    return PolicyTerms(
        clipped_share=is_clipped.detach().sum() / num_tokens,
        mean_ratio=ratio.sum() / num_tokens,
        approx_kl=(ratio - 1 - log_ratio).sum() / num_tokens,
    )
