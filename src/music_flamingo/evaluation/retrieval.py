"""How often does a clip find its own captions, and how often a caption's negatives further away?"""

import torch
from torch import Tensor


@torch.no_grad()
def found_share(audio: Tensor, positives: Tensor, offset: int = 0) -> Tensor:
    """Share of clips to which a caption of their own is nearest: a scalar, 1 / C by chance.

    Args:
        audio: (B, D) unit vectors of clips, one at least.
        positives: (C, P, D) unit vectors of the captions of these and other clips.
        offset: the captions of the first clip are `positives[offset]`.
    """
    nearest = _similarities("bd,cpd->bcp", audio, positives).flatten(1).argmax(1)
    own = torch.arange(len(audio), device=audio.device) + offset
    return (nearest // positives.shape[1] == own).float().mean()


@torch.no_grad()
def told_apart_share(audio: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Share of captions that are nearer to their clip than all of their negatives: a scalar, 1 / (1 + N) by chance.

    Equally near is not nearer.

    Args:
        audio: (B, D) unit vectors of clips, one at least.
        positives: (B, P, D) unit vectors of their captions.
        negatives: (B, P, N, D) unit vectors, N for each caption, one at least.
    """
    near = _similarities("bd,bpd->bp", audio, positives)
    false = _similarities("bd,bpnd->bpn", audio, negatives)
    return (near > false.amax(-1)).float().mean()


def _similarities(equation: str, audio: Tensor, captions: Tensor) -> Tensor:
    """In float32, under autocast too, where near ones would become equal."""
    with torch.autocast(audio.device.type, enabled=False):
        return torch.einsum(equation, audio.float(), captions.float())
