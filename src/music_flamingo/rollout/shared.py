"""Rollouts that pay for a prompt once.

One encoding, one prefill, and G branches that decode from one prompt's keys and values.
"""

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.models.attention import TreeAttention
from music_flamingo.models.music_flamingo import MusicFlamingo
from music_flamingo.rollout.sampling import Completion, SamplingParameters, draw

KEEP_ABOVE = 0.8
"""Share of prompts that must still decode; below it the finished ones leave, which copies the others' keys."""


class SharedEngine:
    """Decodes the completions of all prompts of a row together."""

    @torch.no_grad()
    def sample(
        self,
        model: MusicFlamingo,
        batch: PackedBatch,
        audio: Tensor | None,
        sampling: SamplingParameters,
        end_of_turn: int,
        generator: torch.Generator | None = None,
    ) -> list[Completion]:
        """See `RolloutEngine.sample`."""
        prompts = batch.prompts()
        positions = [batch.tree.row_positions(prompt) for prompt in prompts]
        last = torch.tensor([p[-1] for p in positions], device=batch.input_ids.device)
        prefill = _RecordingAttention(TreeAttention(batch.tree, last))
        hidden = model.hidden_states(batch, audio, prefill, rows=last)
        hidden = hidden.repeat_interleave(sampling.num_generations, 0)
        cache = _BranchAttention(prefill, positions, sampling)
        drawn = _Drawn(len(prompts), sampling, end_of_turn, hidden.device)
        for step in range(sampling.max_new_tokens):
            tokens, logprobs, entropies = draw(hidden @ model.head_weight.T, sampling.temperature, generator)
            drawn.add(tokens, logprobs, entropies)
            kept = drawn.unfinished_prompts()
            if not len(kept) or step + 1 == sampling.max_new_tokens:
                break
            if len(kept) < KEEP_ABOVE * len(drawn.prompts):
                tokens = tokens.unflatten(0, (-1, sampling.num_generations))[kept].flatten()
                cache.keep(kept)
                drawn.keep(kept)
            cache.step = step
            hidden = model.continue_from(model.embed_tokens(tokens), cache.next_positions + step, cache)
        return drawn.completions(prompts)


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


class _RecordingAttention:
    """Attention of the prefill, keeping each layer's keys and values (H', N, D)."""

    def __init__(self, attend: TreeAttention) -> None:
        self.attend = attend
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        self.keys.append(key)
        self.values.append(value)
        return self.attend(layer, query, key, value, scaling)


class _BranchAttention:
    """Attention of one new token per branch over its prompt's keys, shared by G branches, and its own so far.

    Attributes:
        next_positions: (B G,) position id of the first new token.
        step: tokens decoded before this one, set by the engine.
    """

    def __init__(
        self, prefill: _RecordingAttention, prompt_positions: list[list[int]], sampling: SamplingParameters
    ) -> None:
        device = prefill.keys[0].device
        lengths = torch.tensor([len(p) for p in prompt_positions], device=device)
        longest = int(lengths.max())
        index = torch.tensor([p + [0] * (longest - len(p)) for p in prompt_positions], device=device)
        self.num_generations = sampling.num_generations
        self.hidden_keys = torch.arange(longest, device=device) >= lengths[:, None]  # (B, P)
        self.prompt_keys = [key[:, index] for key in prefill.keys]  # (H', B, P, D)
        self.prompt_values = [value[:, index] for value in prefill.values]
        self.next_positions = lengths.repeat_interleave(self.num_generations)
        rows = len(prompt_positions) * self.num_generations
        heads, _, width = prefill.keys[0].shape
        own = (heads, rows, sampling.max_new_tokens, width)
        self.own_keys = [key.new_empty(own) for key in prefill.keys]
        self.own_values = [value.new_empty(own) for value in prefill.values]
        self.step = 0

    def keep(self, kept: Tensor) -> None:
        """Go on with the prompts at these places only."""
        rows = torch.arange(len(self.next_positions), device=kept.device).unflatten(0, (-1, self.num_generations))
        rows = rows[kept].flatten()
        self.hidden_keys = self.hidden_keys[kept]
        self.next_positions = self.next_positions[rows]
        self.prompt_keys = [key[:, kept] for key in self.prompt_keys]
        self.prompt_values = [value[:, kept] for value in self.prompt_values]
        self.own_keys = [key[:, rows] for key in self.own_keys]
        self.own_values = [value[:, rows] for value in self.own_values]

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """`query` is (H, B G, D), `key` and `value` (H', B G, D): one token per branch."""
        heads, rows, width = query.shape
        kv_heads = key.shape[0]
        self.own_keys[layer][:, :, self.step] = key
        self.own_values[layer][:, :, self.step] = value
        own_keys = self.own_keys[layer][:, :, : self.step + 1]
        own_values = self.own_values[layer][:, :, : self.step + 1]

        prompts = rows // self.num_generations
        # (H', B, groups * G, D): every query that reads the same prompt keys, side by side
        shared = (query * scaling).unflatten(0, (kv_heads, -1)).unflatten(2, (prompts, -1)).transpose(1, 2)
        groups = shared.shape[2]
        prompt_scores = shared.flatten(2, 3) @ self.prompt_keys[layer].transpose(2, 3)
        prompt_scores = prompt_scores.masked_fill(self.hidden_keys[:, None], -torch.inf)
        prompt_scores = prompt_scores.unflatten(2, (groups, -1)).transpose(2, 3).flatten(1, 2)  # (H', B G, groups, P)
        own_query = shared.transpose(2, 3).flatten(1, 2)  # (H', B G, groups, D)
        own_scores = own_query @ own_keys.transpose(2, 3)

        weights = torch.cat([prompt_scores, own_scores], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        prompt_weights, own_weights = weights.split([prompt_scores.shape[-1], own_scores.shape[-1]], -1)
        by_prompt = prompt_weights.unflatten(1, (prompts, -1)).transpose(2, 3).flatten(2, 3)
        from_prompt = (by_prompt @ self.prompt_values[layer]).unflatten(2, (groups, -1)).transpose(2, 3).flatten(1, 2)
        output: Tensor = from_prompt + own_weights @ own_values  # (H', B G, groups, D)
        return output.transpose(1, 2).reshape(heads, rows, width)
