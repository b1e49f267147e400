"""A whole GRPO step: rollout, reference and update, against the dataflow of TRL's trainer with audio added.

TRL takes no audio, so this is a port of what it does: `generate` on a copy of the prompt for each completion, then a
row for each completion through the reference and through the policy, the encoder anew each time. Rewards are left out
on both sides.
"""

import copy
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import gradients_of
from benchmarks.speed.grpo_update import GROUP, loss
from benchmarks.speed.plain import completion_logprobs, sample_greedily
from benchmarks.speed.rollouts import NO_END
from benchmarks.speed.subject import model, prompt_row, song, with_branches
from music_flamingo.batch import PackedBatch
from music_flamingo.models import MusicFlamingo
from music_flamingo.rollout import SamplingParameters, SharedEngine

LENGTH = 64
SETTINGS = [(1, 3.0, 3), (4, 4.0, 1)]
"""Windows of 750 tokens, the ratio aimed at, and how often it is measured."""


def claims() -> Iterator[Claim]:
    """Time both ways."""
    for num_windows, must, repeats in SETTINGS:
        yield measure(num_windows, must, repeats)


def measure(num_windows: int, must: float, repeats: int, *, warm_up: bool = True) -> Claim:
    """Time both ways on a song of so many windows."""
    prompt = prompt_row(song(num_windows))
    seconds = paired_seconds(lambda: copied_step(prompt), lambda: shared_step(prompt), repeats, warm_up=warm_up)
    setting = f"one group, G={GROUP}, P={num_windows * 750}, C={LENGTH}, with reference"
    return Claim("GRPO step", setting, "TRL's dataflow, with audio", *seconds, must)


@lru_cache
def reference() -> MusicFlamingo:
    """The policy as it was."""
    return copy.deepcopy(model()).requires_grad_(False).eval()


def copied_step(prompt: PackedBatch, *, with_reference: bool = True) -> None:
    """A row for each completion, in each of the three passes."""
    branches = sample_greedily(model(), prompt, GROUP, LENGTH)
    with torch.no_grad():
        before = completion_logprobs(reference(), prompt, branches) if with_reference else None
    gradients_of(policy_loss(completion_logprobs(model(), prompt, branches), before))


def shared_step(prompt: PackedBatch, *, with_reference: bool = True) -> None:
    """One encoding, one prefill, one row."""
    sampling = SamplingParameters(LENGTH, temperature=0.0, num_generations=GROUP)
    with torch.no_grad():
        features = model().audio_features(prompt.audio)
        drawn = SharedEngine().sample(model(), prompt, model().project(features, prompt), sampling, NO_END)
        row = with_branches(prompt, torch.stack([completion.token_ids for completion in drawn]))
        before = None
        if with_reference:
            before = reference().target_logprobs(row, features)[0].view(GROUP, -1)
    gradients_of(policy_loss(model().target_logprobs(row, features)[0].view(GROUP, -1), before))


def policy_loss(after: Tensor, before: Tensor | None) -> Tensor:
    """Of log-probabilities (G, C) by the policy, held to those by the reference."""
    return loss(after if before is None else after - 0.01 * (before - after).exp())
