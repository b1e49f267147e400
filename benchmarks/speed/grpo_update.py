"""Forward and backward of a GRPO update: a group on one prompt against a row for each completion.

The baseline is the dataflow of TRL's GRPO trainer with audio added, as TRL itself takes none.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import gradients_of, require_same
from benchmarks.speed.plain import completion_logprobs
from benchmarks.speed.subject import completions, model, prompt_row, song, with_branches
from music_flamingo.batch import PackedBatch

GROUP = 5
SETTINGS = [(1, 64, 3.3), (1, 256, 2.2), (4, 64, 4.2), (4, 256, 3.4)]
"""Windows of 750 tokens, completion tokens, and the ratio aimed at."""


def claims() -> Iterator[Claim]:
    """Time both ways, whose gradients must agree."""
    for num_windows, length, must in SETTINGS:
        prompt, branches = prompt_row(song(num_windows)), completions(GROUP, length)
        row = with_branches(prompt, branches)
        seconds = paired_seconds(
            lambda p=prompt, b=branches: plain_gradients(p, b),
            lambda r=row: shared_gradients(r),
            repeats=3,
            warm_up=False,
            require_same=require_same,
        )
        setting = f"G={GROUP}, P={num_windows * 750}, C={length}, policy only"
        yield Claim("GRPO update, forward and backward", setting, "G rows, transformers' forward", *seconds, must)


def plain_gradients(prompt: PackedBatch, branches: Tensor) -> dict[str, Tensor]:
    """Gradients from a row for each completion."""
    return gradients_of(loss(completion_logprobs(model(), prompt, branches)))


def shared_gradients(row: PackedBatch) -> dict[str, Tensor]:
    """Gradients from one row for all of them."""
    with torch.no_grad():
        features = model().audio_features(row.audio)
    logprobs, _ = model().target_logprobs(row, features)
    return gradients_of(loss(logprobs.view(GROUP, -1)))


def loss(logprobs: Tensor) -> Tensor:
    """Of completions (G, C), the better the later."""
    return -(logprobs.mean(1) * torch.linspace(-1, 1, len(logprobs))).mean()
