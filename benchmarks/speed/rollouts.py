"""Sampling a group: one encoding, one prefill and one copy of the song's keys, against `generate` on copies.

Both decode greedily, so that they must draw the same tokens.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.plain import sample_greedily
from benchmarks.speed.subject import model, prompt_row, song
from music_flamingo.batch import PackedBatch
from music_flamingo.rollout import SamplingParameters, SharedEngine

GROUP = 5
NO_END = -1
"""No token ends a completion: all are equally long."""
SETTINGS = [(4, 64, 4.2), (4, 256, 2.8)]
"""Windows of 750 tokens, completion tokens, and the ratio aimed at."""


def claims() -> Iterator[Claim]:
    """Time both ways, which must draw the same tokens."""
    for num_windows, length, must in SETTINGS:
        prompt = prompt_row(song(num_windows))
        seconds = paired_seconds(
            lambda p=prompt, c=length: sample_greedily(model(), p, GROUP, c),
            lambda p=prompt, c=length: shared(p, c),
            repeats=3,
            warm_up=False,
            require_same=_require_same,
        )
        setting = f"one group, G={GROUP}, P={num_windows * 750}, C={length}, equal tokens"
        yield Claim("rollouts", setting, "transformers' generate on copies", *seconds, must)


def _require_same(baseline: Tensor, ours: Tensor) -> None:
    if not torch.equal(baseline, ours):
        raise RuntimeError("the two do not draw the same tokens")


@torch.no_grad()
def shared(prompt: PackedBatch, length: int) -> Tensor:
    """(G, C) tokens."""
    sampling = SamplingParameters(length, temperature=0.0, num_generations=GROUP)
    audio = model().encode_audio(prompt)
    drawn = SharedEngine().sample(model(), prompt, audio, sampling, NO_END)
    return torch.stack([completion.token_ids for completion in drawn])
