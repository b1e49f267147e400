"""Rollouts by transformers' own `generate`, one copy of prompt and audio per completion.

Slow, and the oracle of the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows, PackedBatch
from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.models.attention import PREFIX_TREE
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.rollout.sampling import Completion, SamplingParameters


class HFEngine:
    """`generate` on copies. `num_return_sequences` is not used: it repeats audio per window, not per song."""

    @torch.no_grad()
    def sample(
        self,
        model: MusicLanguageModel,
        batch: PackedBatch,
        audio: Tensor | None,
        sampling: SamplingParameters,
        end_of_turn: int,
        generator: torch.Generator | None = None,
    ) -> list[Completion]:
        """See `RolloutEngine.sample`.

        `audio` is not used, each copy is encoded anew, and `generator` is torch's default.
        """
        model.require_positions(batch, batch.prompts(), sampling.max_new_tokens)
        roots = batch.tree.roots()
        completions = []
        with _plain_attention(model):
            for prompt in batch.prompts():
                ids = batch.input_ids[batch.tree.row_positions(prompt)][None]
                song = batch.song_windows(roots.index(batch.tree.root_of(prompt)))
                completions += [
                    self._generate(model, prompt, ids, song, sampling, end_of_turn)
                    for _ in range(sampling.num_generations)
                ]
        return completions

    def _generate(
        self,
        model: MusicLanguageModel,
        prompt: int,
        ids: Tensor,
        song: AudioWindows | None,
        sampling: SamplingParameters,
        end_of_turn: int,
    ) -> Completion:
        inputs = {} if song is None else model.generation_inputs(song)
        settings = (
            {"do_sample": False}
            if sampling.temperature == 0
            else {"do_sample": True, "temperature": sampling.temperature}
        )
        network: Any = model.network  # transformers annotates `generate` for a class that its models are not
        output: Tensor = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **inputs,
            **settings,
            top_k=0,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=end_of_turn,
            pad_token_id=end_of_turn,
        )
        hidden = network.model(input_ids=output, **inputs, use_cache=False).last_hidden_state[0]
        tokens = output[0, ids.shape[1] :]
        logprobs, entropies = token_logprobs(
            hidden[ids.shape[1] - 1 : -1], model.head_weight, tokens, temperature=sampling.temperature or 1.0
        )
        return Completion(prompt, tokens, logprobs, entropies, bool(tokens[-1] == end_of_turn))


@contextmanager
def _plain_attention(model: MusicLanguageModel) -> Iterator[None]:
    language_model = model.network.model.language_model
    language_model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        language_model.set_attn_implementation(PREFIX_TREE)
