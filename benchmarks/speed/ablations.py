"""What does each part of sharing bring? A whole GRPO step of ours against itself with parts left out.

Without sharing, each completion has a song and a prompt of its own in every pass, packed side by side; the encoder runs
once for each pass, as in ours. With a shared policy only, rollout and reference are TRL's dataflow, and the update is
ours: what other trainers with shared prefixes do. The last line leaves out the reference on both sides.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import gradients_of
from benchmarks.speed.grpo_step import LENGTH, copied_step, policy_loss, reference, shared_step
from benchmarks.speed.grpo_update import GROUP
from benchmarks.speed.plain import completion_logprobs, sample_greedily
from benchmarks.speed.rollouts import NO_END
from benchmarks.speed.subject import model, prompt_row, song, with_branches
from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.rollout import SamplingParameters, SharedEngine

NUM_WINDOWS = 4


def claims() -> Iterator[Claim]:
    """Time ours and ours with parts left out, by turns."""
    prompt = prompt_row(song(NUM_WINDOWS))
    setting = f"one group, G={GROUP}, P={NUM_WINDOWS * 750}, C={LENGTH}"
    runs: list[tuple[str, str, Callable[[], object], Callable[[], object]]] = [
        ("with reference", "ours, nothing shared", lambda: unshared_step(prompt), lambda: shared_step(prompt)),
        ("with reference", "ours, policy shared only", lambda: shared_policy(prompt), lambda: shared_step(prompt)),
        (
            "no reference",
            "TRL's dataflow, with audio",
            lambda: copied_step(prompt, with_reference=False),
            lambda: shared_step(prompt, with_reference=False),
        ),
    ]
    for passes, baseline, theirs, ours in runs:
        seconds = paired_seconds(theirs, ours, repeats=1, warm_up=False)
        yield Claim("GRPO step, ablation", f"{setting}, {passes}", baseline, *seconds, must=1.0)


def unshared_step(prompt: PackedBatch) -> None:
    """A tree for each completion: its own song and its own prompt."""
    copies = _side_by_side(prompt, [None] * GROUP)
    with torch.no_grad():
        features = model().audio_features(copies.audio)
        sampling = SamplingParameters(LENGTH, temperature=0.0)
        drawn = SharedEngine().sample(model(), copies, model().project(features, copies), sampling, NO_END)
        row = _side_by_side(prompt, [completion.token_ids for completion in drawn])
        before = reference().target_logprobs(row, features)[0].view(GROUP, -1)
    after = model().target_logprobs(row, features)[0].view(GROUP, -1)
    gradients_of(policy_loss(after, before))


def shared_policy(prompt: PackedBatch) -> None:
    """Copies in rollout and reference, one row in the update."""
    branches = sample_greedily(model(), prompt, GROUP, LENGTH)
    row = with_branches(prompt, branches)
    with torch.no_grad():
        before = completion_logprobs(reference(), prompt, branches)
        features = model().audio_features(row.audio)
    after = model().target_logprobs(row, features)[0].view(GROUP, -1)
    gradients_of(policy_loss(after, before))


def _side_by_side(prompt: PackedBatch, completions: list[Tensor | None]) -> PackedBatch:
    row = RowBuilder(model().audio_token_id)
    for completion in completions:
        root = row.add(prompt.segment_ids(0), windows=prompt.audio)
        question = row.add(prompt.segment_ids(1), parent=root)
        if completion is not None:
            row.add(completion, parent=question, train_from=0)
    return row.build()
