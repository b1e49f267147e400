"""Losses: pure functions of tensors."""

from music_flamingo.losses.contrastive import (
    GatheredCaptions,
    audio_text_contrastive_loss,
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
from music_flamingo.losses.retrieval import found_share, told_apart_share

__all__ = [
    "DAPOLoss",
    "DrGRPOLoss",
    "GRPOLoss",
    "GatheredCaptions",
    "PolicyLoss",
    "PolicyTerms",
    "audio_text_contrastive_loss",
    "clipped_objective",
    "compositional_contrastive_loss",
    "found_share",
    "gathered_captions",
    "group_advantages",
    "kl_penalty",
    "kl_per_token",
    "told_apart_share",
]
