"""Contrastive loss between audio clips and their captions."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def audio_text_contrastive_loss(audio: Tensor, text: Tensor, temperature: float | Tensor = 0.07) -> Tensor:
    """InfoNCE: each audio clip should be closer to its own caption than to those of the rest of the batch.

    This is the audio-to-text loss of AF-CLAP with one caption per clip and no written negatives.

    Args:
        audio: (B, D) embeddings of the clips, of any length.
        text: (B, D) embeddings of the captions, in the same order.
        temperature: divides the cosine similarities; above 0, a tensor where it is learnt.

    Returns:
        a scalar, nats; log B when the embeddings say nothing.

    Raises:
        ValueError: embeddings of unequal or other shape, or a temperature of 0 or less.

    Source: Audio Flamingo 2 (arXiv:2503.03983) section 3.1, with M = 1 and N = 0.
    """
    if audio.dim() != 2 or audio.shape != text.shape:  # noqa: PLR2004
        raise ValueError(f"expected audio and text (B, D) alike, got {tuple(audio.shape)}, {tuple(text.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    similarity = normalize(audio.float(), dim=-1) @ normalize(text.float(), dim=-1).T
    return cross_entropy(similarity / temperature, torch.arange(len(audio), device=audio.device))
