"""Forward and backward of a GRPO update: a group on one prompt against a row for each completion.

The baseline is the dataflow of TRL's GRPO trainer with audio added, as TRL itself takes none.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.measurement import Claim, paired_seconds
from benchmarks.speed.plain import completion_logprobs
from benchmarks.speed.subject import completions, model, prompt_row, song, with_branches
from music_flamingo.batch import PackedBatch

GROUP = 5
MOST_DIFFERENCE = 2e-5
"""Of a tensor's gradient, relative to its norm: what float32 leaves between the two ways."""
SETTINGS = [(1, 64, 3.3), (1, 256, 2.2), (4, 64, 4.2), (4, 256, 3.4)]
"""Windows of 750 tokens, completion tokens, and the ratio aimed at."""


def claims() -> Iterator[Claim]:
    """Time both ways, after a look at whether their gradients agree."""
    for num_windows, length, must in SETTINGS:
        prompt, branches = prompt_row(song(num_windows)), completions(GROUP, length)
        row = with_branches(prompt, branches)
        plain, shared = plain_gradients(prompt, branches), shared_gradients(row)
        difference = max(float((plain[n] - shared[n]).norm() / plain[n].norm()) for n in plain)
        if difference > MOST_DIFFERENCE:
            raise RuntimeError(f"the two do not compute the same: gradients differ by {difference:.1e} of their norm")
        seconds = paired_seconds(
            lambda p=prompt, b=branches: plain_gradients(p, b),
            lambda r=row: shared_gradients(r),
            repeats=3,
            warm_up=False,
        )
        setting = f"G={GROUP}, P={num_windows * 750}, C={length}, policy only"
        yield Claim("GRPO update, forward and backward", setting, "G rows, transformers' forward", *seconds, must)


def plain_gradients(prompt: PackedBatch, branches: Tensor) -> dict[str, Tensor]:
    """Gradients from a row for each completion."""
    return gradients(completion_logprobs(model(), prompt, branches))


def shared_gradients(row: PackedBatch) -> dict[str, Tensor]:
    """Gradients from one row for all of them."""
    with torch.no_grad():
        features = model().audio_features(row.audio)
    logprobs, _ = model().target_logprobs(row, model().project(features))
    return gradients(logprobs.view(GROUP, -1))


def gradients(logprobs: Tensor) -> dict[str, Tensor]:
    """Of completions (G, C), the better the later."""
    advantages = torch.linspace(-1, 1, len(logprobs))
    model().zero_grad()
    (-(logprobs.mean(1) * advantages).mean()).backward()
    return {name: p.grad.clone() for name, p in model().named_parameters() if p.grad is not None}
