"""Losses: pure functions of tensors."""

from music_flamingo.losses.contrastive import (
    GatheredCaptions,
    compositional_contrastive_loss,
    gathered_captions,
)
from music_flamingo.losses.policy_gradient import (
    DAPOLoss,
    DrGRPOLoss,
    GRPOLoss,
    PolicyLoss,
    PolicyTerms,
    clipped_objective,
    group_advantages,
    kl_penalty,
    kl_per_token,
)

__all__ = [
    "DAPOLoss",
    "DrGRPOLoss",
    "GRPOLoss",
    "GatheredCaptions",
    "PolicyLoss",
    "PolicyTerms",
    "clipped_objective",
    "compositional_contrastive_loss",
    "gathered_captions",
    "group_advantages",
    "kl_penalty",
    "kl_per_token",
]
