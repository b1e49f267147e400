"""The baseline's ways: transformers' own forward and `generate`, each row with its own copy of the song.

They get every fair advantage: scaled-dot-product attention without a mask where no row is padded (so flash attention),
no gradient through a frozen encoder, and logits of the completions only.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from music_flamingo.batch import PackedBatch
from music_flamingo.models.attention import PREFIX_TREE
from music_flamingo.models.music_language_model import MusicLanguageModel


@contextmanager
def transformers_attention(model: MusicLanguageModel) -> Iterator[PreTrainedModel]:
    """The model's network, attending as transformers does."""
    language_model = model.network.get_decoder()
    language_model.set_attn_implementation("sdpa")
    try:
        yield model.network
    finally:
        language_model.set_attn_implementation(PREFIX_TREE)


def completion_logprobs(model: MusicLanguageModel, prompt: PackedBatch, branches: Tensor) -> Tensor:
    """(G, C) log-probabilities of completions (G, C), from G rows of prompt and completion."""
    group, length = branches.shape
    ids = torch.cat([prompt.input_ids.expand(group, -1), branches], 1)
    return last_logprobs(model, ids, copies_of_audio(prompt, group), length)


def last_logprobs(model: MusicLanguageModel, input_ids: Tensor, audio: Mapping[str, Tensor], length: int) -> Tensor:
    """(G, C) log-probabilities of the last C tokens of rows (G, N).

    Args:
        model: whose network to ask.
        input_ids: the rows.
        audio: what the network hears, as its processor gives it.
        length: C.
    """
    with transformers_attention(model) as network:
        output = network(input_ids=input_ids, **audio, logits_to_keep=length + 1, use_cache=False)
    targets = input_ids[:, -length:, None]
    logprobs: Tensor = output.logits[:, :-1].log_softmax(-1).gather(-1, targets)[..., 0]
    return logprobs


@torch.no_grad()
def sample_greedily(model: MusicLanguageModel, prompt: PackedBatch, group: int, length: int) -> Tensor:
    """(G, C) tokens of one `generate` call, a copy of the prompt for each completion; no token ends one."""
    ids = prompt.input_ids.expand(group, -1)
    with transformers_attention(model) as network:
        drawn: Tensor = network.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **copies_of_audio(prompt, group),
            do_sample=False,
            eos_token_id=None,
            max_new_tokens=length,
        )
    return drawn[:, -length:]


def copies_of_audio(prompt: PackedBatch, copies: int) -> dict[str, Tensor]:
    """Mel windows of a song, once for each row."""
    features = prompt.audio.features.repeat(copies, 1, 1)  # type: ignore[union-attr]
    mask = torch.ones(len(features), features.shape[-1], dtype=torch.long)
    return {"input_features": features, "input_features_mask": mask}
