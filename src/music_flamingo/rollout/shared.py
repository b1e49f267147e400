"""Rollouts that pay for a song and for a prompt once.

One encoding, one prefill, and branches that decode from their prompt's and their song's only keys and values.
"""

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.rollout.branch_attention import BranchAttention, RecordingAttention
from music_flamingo.rollout.branch_audio import BranchAudio, RecordingAudio
from music_flamingo.rollout.sampling import Completion, SamplingParameters, draw
from music_flamingo.step_parts import part

KEEP_ABOVE = 0.8
"""Share of prompts that must still decode; below it the finished ones leave, which copies the others' keys."""


class SharedEngine:
    """Decodes the completions of all prompts of a row together."""

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
        """See `RolloutEngine.sample`."""
        prompts = batch.prompts()
        model.require_positions(batch, prompts, sampling.max_new_tokens)
        ends = [batch.tree.slice_of(prompt).stop - 1 for prompt in prompts]
        last = torch.tensor(ends, device=batch.input_ids.device)
        prefill = RecordingAttention(model.row_attention(batch, last))
        row = model.heard_audio(batch, audio)
        heard = None if row is None else RecordingAudio(row)
        with part("prefill"):
            hidden = model.hidden_states(batch, audio, prefill, rows=last, heard=heard)
        hidden = hidden.repeat_interleave(sampling.num_generations, 0)
        cache = BranchAttention(prefill, batch.tree, prompts, sampling)
        songs = None if heard is None else BranchAudio(heard, batch.tree, prompts, sampling.num_generations)
        drawn = _Drawn(len(prompts), sampling, end_of_turn, hidden.device)
        self._decode(model, hidden, cache, songs, drawn, sampling, generator)
        return drawn.completions(prompts)

    @part("decode")
    def _decode(
        self,
        model: MusicLanguageModel,
        hidden: Tensor,
        cache: BranchAttention,
        songs: BranchAudio | None,
        drawn: "_Drawn",
        sampling: SamplingParameters,
        generator: torch.Generator | None,
    ) -> None:
        """Draw tokens until all completions have ended; `hidden` (B G, D') predicts their first ones."""
        for step in range(sampling.max_new_tokens):
            tokens, logprobs, entropies = draw(hidden @ model.head_weight.T, sampling.temperature, generator)
            drawn.add(tokens, logprobs, entropies)
            kept = drawn.unfinished_prompts()
            if not len(kept) or step + 1 == sampling.max_new_tokens:
                break
            if len(kept) < KEEP_ABOVE * len(drawn.prompts):
                tokens = tokens.unflatten(0, (-1, sampling.num_generations))[kept].flatten()
                for each in (cache, songs, drawn):
                    if each is not None:
                        each.keep(kept)
            cache.step = step
            embeddings = model.embed_tokens(tokens)
            hidden = model.continue_from(embeddings, cache.next_positions + step, cache, heard=songs)


class _Drawn:
    """Tokens drawn so far, (B, G, max_new_tokens), and which prompts still decode.

    Attributes:
        prompts: (b,) those whose tokens are still drawn, a part of the B.
    """

    def __init__(self, num_prompts: int, sampling: SamplingParameters, end_of_turn: int, device: torch.device) -> None:
        shape = (num_prompts, sampling.num_generations, sampling.max_new_tokens)
        self.end_of_turn = end_of_turn
        self.tokens = torch.full(shape, end_of_turn, device=device)
        self.logprobs = torch.zeros(shape, device=device)
        self.entropies = torch.zeros(shape, device=device)
        self.prompts = torch.arange(num_prompts, device=device)
        self.length = 0

    def add(self, tokens: Tensor, logprobs: Tensor, entropies: Tensor) -> None:
        group = (-1, self.tokens.shape[1])
        for stored, new in ((self.tokens, tokens), (self.logprobs, logprobs), (self.entropies, entropies)):
            stored[self.prompts, :, self.length] = new.unflatten(0, group)
        self.length += 1

    def unfinished_prompts(self) -> Tensor:
        """Which of `prompts`, by place, have a completion that has not ended."""
        ended = (self.tokens[self.prompts, :, : self.length] == self.end_of_turn).any(-1)
        return torch.nonzero(~ended.all(-1)).flatten()

    def keep(self, kept: Tensor) -> None:
        self.prompts = self.prompts[kept]

    def completions(self, prompts: list[int]) -> list[Completion]:
        ended = self.tokens[:, :, : self.length] == self.end_of_turn
        lengths = torch.where(ended.any(-1), ended.int().argmax(-1) + 1, self.length).tolist()
        return [
            Completion(
                prompt,
                self.tokens[row, member, :length],
                self.logprobs[row, member, :length],
                self.entropies[row, member, :length],
                bool(ended[row, member, length - 1]),
            )
            for row, prompt in enumerate(prompts)
            for member, length in enumerate(lengths[row])
        ]
