"""Contrastive loss between audio clips and their captions."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


def compositional_contrastive_loss(
    audio: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    offset: int = 0,
    num_clips: float | None = None,
) -> Tensor:
    """AF-CLAP's loss: a clip should be closer to its own P captions than to all others and to its own negatives.

        s(u, v)  = exp(<u, v> / temperature)
        S(j, i)  = sum over p of s(positives[j, p], audio[i])
        S-(i)    = sum over p, n of s(negatives[i, p, n], audio[i])
        loss     = mean over i of -log(S(i, i) / (S-(i) + sum over j of S(j, i)))

    Negatives say something false of one clip and may be true of another, so no other clip meets them. The loss is
    computed in logarithms and in float32 at least, under autocast too: a similarity in bfloat16 is right to 0.004,
    which is 0.4 nats at temperature 0.01.

    Args:
        audio: (B, D) unit vectors of this rank's clips.
        positives: (C, P, D) unit vectors of the captions of all ranks' clips, as `gathered_captions` returns them.
        negatives: (B, P, N, D) unit vectors, N for each caption of this rank's clips; None for none.
        temperature: above 0, a tensor where it is learnt.
        offset: the captions of this rank's first clip are `positives[offset]`.
        num_clips: divides the sum over clips, so that B may be 0; None for B.

    Returns:
        a scalar, nats; log(C (1 + N)) when the embeddings say nothing and N negatives are given.

    Raises:
        ValueError: shapes that do not fit, captions missing for a clip, or a temperature of 0 or less.

    Source: Audio Flamingo 2 (arXiv:2503.03983) section 3.1.
    """
    _check_shapes(audio, positives, negatives, offset)
    # A learnt temperature is positive by construction; to compare it would make the host wait for the device.
    if not isinstance(temperature, Tensor) and temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    clips = torch.arange(len(audio), device=audio.device)
    with torch.autocast(audio.device.type, enabled=False):
        audio, positives = _precise(audio), _precise(positives)
        to_positives = torch.einsum("bd,cpd->bcp", audio, positives) / temperature
        own, every = to_positives[clips, clips + offset], to_positives.flatten(1)
        if negatives is not None:
            to_negatives = torch.einsum("bd,bpnd->bpn", audio, _precise(negatives)) / temperature
            every = torch.cat([every, to_negatives.flatten(1)], dim=1)
        return (every.logsumexp(1) - own.logsumexp(1)).sum() / (len(audio) if num_clips is None else num_clips)


class GatheredCaptions(NamedTuple):
    """The captions of all ranks, as `compositional_contrastive_loss` takes them.

    Attributes:
        positives: (C, P, D), one rank behind the other.
        offset: where this rank's begin.
        num_clips: of a rank, in the mean over ranks.
    """

    positives: Tensor
    offset: int
    num_clips: float


def gathered_captions(
    positives: Tensor, all_gather: Callable[[Tensor], Iterable[Tensor]], rank: int
) -> GatheredCaptions:
    """The captions of all ranks, which may have unequally many.

    Where gradients are averaged over ranks, as DDP does, the loss of what is returned has the gradient of one process
    on the joined batch. A rank without clips has to take part all the same, with a loss of 0 and its backward pass.

    Args:
        positives: (B, P, D) of this rank; B may be 0.
        all_gather: collects a tensor from all ranks and carries gradients back to them: Lightning's
            `partial(module.all_gather, sync_grads=True)`, or torch's `torch.distributed.nn.functional.all_gather`.
        rank: of this process.
    """
    count = torch.tensor([[len(positives)]], device=positives.device)
    counts: list[int] = torch.cat(tuple(all_gather(count))).flatten().tolist()
    most = max(counts)
    padded = pad(positives, (0, 0, 0, 0, 0, most - len(positives)))
    # One process' Lightning returns the tensor itself, without an axis for ranks.
    everyone = torch.cat(tuple(all_gather(padded))).reshape(-1, *positives.shape[1:])
    if everyone.requires_grad:
        # torch receives the other ranks' gradients into memory strided as its own: where that is not contiguous, and
        # behind an einsum it is not, gloo puts the numbers in wrong places without an error.
        everyone.register_hook(torch.Tensor.contiguous)
    places = [number * most + clip for number, count in enumerate(counts) for clip in range(count)]
    return GatheredCaptions(everyone[places], sum(counts[:rank]), sum(counts) / len(counts))


def _precise(embeddings: Tensor) -> Tensor:
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def _check_shapes(audio: Tensor, positives: Tensor, negatives: Tensor | None, offset: int) -> None:
    shapes = [tuple(each.shape) for each in (audio, positives, negatives) if each is not None]
    if audio.dim() != 2 or positives.dim() != 3 or audio.shape[-1] != positives.shape[-1]:  # noqa: PLR2004
        raise ValueError(f"expected audio (B, D) and positives (C, P, D), got {shapes[0]}, {shapes[1]}")
    fits = (len(audio), positives.shape[1], audio.shape[-1])
    if negatives is not None and (negatives.dim() != 4 or (*shapes[2][:2], shapes[2][3]) != fits):  # noqa: PLR2004
        raise ValueError(f"expected negatives (B, P, N, D) = ({fits[0]}, {fits[1]}, N, {fits[2]}), got {shapes[2]}")
    if not 0 <= offset <= len(positives) - len(audio):
        raise ValueError(f"{len(audio)} clips from {offset} on have no captions among those of {len(positives)} clips")
