"""Forward and backward of a GRPO update: a group on one prompt against a row for each completion.

The baseline is the dataflow of TRL's GRPO trainer with audio added, as TRL itself takes none: transformers' own forward
on G copies of prompt and audio. It gets every fair advantage: no mask (so causal flash attention), no gradient through
the frozen encoder, logits of completions only.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import MusicFlamingoForConditionalGeneration

from benchmarks.speed.measurement import Claim, paired_seconds
from benchmarks.speed.subject import completions, model, prompt_row, song, with_branches
from music_flamingo.batch import PackedBatch
from music_flamingo.models.attention import PREFIX_TREE

GROUP = 5
MOST_DIFFERENCE = 2e-5
"""Of a tensor's gradient, relative to its norm: what float32 leaves between the two ways."""
SETTINGS = [(1, 64, 3.3), (1, 256, 2.2), (4, 64, 4.2), (4, 256, 3.4)]
"""Windows of 750 tokens, completion tokens, and the ratio aimed at."""


def claims() -> Iterator[Claim]:
    """Time both ways, after a look at whether their gradients agree."""
    advantages = torch.linspace(-1, 1, GROUP)
    for num_windows, length, must in SETTINGS:
        prompt, branches = prompt_row(song(num_windows)), completions(GROUP, length)
        row = with_branches(prompt, branches)
        plain, shared = plain_gradients(prompt, branches, advantages), shared_gradients(row, advantages)
        difference = max(float((plain[n] - shared[n]).norm() / plain[n].norm()) for n in plain)
        if difference > MOST_DIFFERENCE:
            raise RuntimeError(f"the two do not compute the same: gradients differ by {difference:.1e} of their norm")
        seconds = paired_seconds(
            lambda p=prompt, b=branches: plain_gradients(p, b, advantages),
            lambda r=row: shared_gradients(r, advantages),
            repeats=3,
        )
        setting = f"G={GROUP}, P={num_windows * 750}, C={length}, policy only"
        yield Claim("GRPO update, forward and backward", setting, "G rows, transformers' forward", *seconds, must)


def plain_gradients(prompt: PackedBatch, branches: Tensor, advantages: Tensor) -> dict[str, Tensor]:
    """Gradients from a row for each completion."""
    network: MusicFlamingoForConditionalGeneration = model().network
    language_model = network.model.language_model
    language_model.set_attn_implementation("sdpa")
    group, length = branches.shape
    windows = prompt.audio
    rows = torch.cat([prompt.input_ids.expand(group, -1), branches], 1)
    features = windows.features.repeat(group, 1, 1)
    output = network(
        input_ids=rows,
        input_features=features,
        input_features_mask=torch.ones(len(features), features.shape[-1], dtype=torch.long),
        logits_to_keep=length + 1,
        use_cache=False,
    )
    logprobs = output.logits[:, :-1].log_softmax(-1).gather(-1, branches[..., None])[..., 0]
    language_model.set_attn_implementation(PREFIX_TREE)
    return _gradients(logprobs.flatten(), advantages)


def shared_gradients(row: PackedBatch, advantages: Tensor) -> dict[str, Tensor]:
    """Gradients from one row for all of them."""
    with torch.no_grad():
        features = model().audio_features(row.audio)
    logprobs, _ = model().target_logprobs(row, model().project(features))
    return _gradients(logprobs, advantages)


def _gradients(logprobs: Tensor, advantages: Tensor) -> dict[str, Tensor]:
    loss = -(logprobs.view(len(advantages), -1).mean(1) * advantages).mean()
    model().zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model().named_parameters() if p.grad is not None}
