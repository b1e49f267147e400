"""Sampling a group: one encoding, one prefill and one copy of the song's keys, against `generate` on copies.

Both decode greedily, so that they must draw the same tokens. The baseline is one call of transformers' `generate` for
the whole group, with a copy of the audio and of the prompt for each completion.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.measurement import Claim, paired_seconds
from benchmarks.speed.subject import model, prompt_row, song
from music_flamingo.batch import PackedBatch
from music_flamingo.models.attention import PREFIX_TREE
from music_flamingo.rollout import SamplingParameters, SharedEngine

GROUP = 5
NO_END = -1
"""No token ends a completion: all are equally long."""
SETTINGS = [(4, 64, 4.2), (4, 256, 2.8)]
"""Windows of 750 tokens, completion tokens, and the ratio aimed at."""


def claims() -> Iterator[Claim]:
    """Time both ways, after a look at whether they draw the same tokens."""
    for num_windows, length, must in SETTINGS:
        prompt = prompt_row(song(num_windows))
        if not torch.equal(on_copies(prompt, length), shared(prompt, length)):
            raise RuntimeError("the two do not draw the same tokens")
        seconds = paired_seconds(
            lambda p=prompt, c=length: on_copies(p, c), lambda p=prompt, c=length: shared(p, c), repeats=3
        )
        setting = f"one group, G={GROUP}, P={num_windows * 750}, C={length}, equal tokens"
        yield Claim("rollouts", setting, "transformers' generate on copies", *seconds, must)


@torch.no_grad()
def on_copies(prompt: PackedBatch, length: int) -> Tensor:
    """(G, C) tokens."""
    network = model().network
    language_model = network.model.language_model
    language_model.set_attn_implementation("sdpa")
    features = prompt.audio.features.repeat(GROUP, 1, 1)
    ids = prompt.input_ids.expand(GROUP, -1)
    drawn = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        input_features=features,
        input_features_mask=torch.ones(len(features), features.shape[-1], dtype=torch.long),
        do_sample=False,
        eos_token_id=None,
        max_new_tokens=length,
    )
    language_model.set_attn_implementation(PREFIX_TREE)
    return drawn[:, -length:]


@torch.no_grad()
def shared(prompt: PackedBatch, length: int) -> Tensor:
    """(G, C) tokens."""
    sampling = SamplingParameters(length, temperature=0.0, num_generations=GROUP)
    audio = model().encode_audio(prompt.audio)
    drawn = SharedEngine().sample(model(), prompt, audio, sampling, NO_END)
    return torch.stack([completion.token_ids for completion in drawn])
