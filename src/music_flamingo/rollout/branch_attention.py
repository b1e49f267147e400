"""Attention while completions are decoded: a song's keys serve all its questions, a prompt's all its completions.

A new token reads three stretches of keys: the song's (the root of its tree), its question's (the rest of its prompt),
and those of its own completion so far. Only the last are stored per completion. Where every song has one question, both
are one stretch.
"""

import torch
from torch import Tensor

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.row_layout import padded
from music_flamingo.models.attention import TreeAttention
from music_flamingo.rollout.sampling import SamplingParameters
from music_flamingo.rollout.song_grid import SongGrid


class RecordingAttention:
    """Attention of the prefill, keeping each layer's keys and values (H', N, D)."""

    def __init__(self, attend: TreeAttention) -> None:
        self.attend = attend
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        self.keys.append(key)
        self.values.append(value)
        return self.attend(layer, query, key, value, scaling)


class BranchAttention:
    """Attention of one new token per branch, G branches for each of B prompts on S songs.

    Args:
        prefill: keys and values of the row.
        tree: layout of the row.
        prompts: segments that are continued, in the row's order.
        sampling: says G and how many tokens a branch can get.

    Attributes:
        next_positions: (B G,) position id of the first new token.
        step: tokens decoded before this one, set by the engine.
    """

    def __init__(
        self, prefill: RecordingAttention, tree: PrefixTree, prompts: list[int], sampling: SamplingParameters
    ) -> None:
        device = prefill.keys[0].device
        row = torch.arange(tree.num_tokens, device=device)
        self.num_generations = sampling.num_generations
        paths = [row[tree.row_positions(prompt)] for prompt in prompts]
        roots = [tree.root_of(prompt) for prompt in prompts]
        self.songs = SongGrid(torch.tensor(roots, device=device))
        if len(self.songs.songs) == len(prompts):
            shared, rests = paths, [path[:0] for path in paths]
        else:
            shared = [row[tree.slice_of(root)] for root in self.songs.songs.tolist()]
            rests = [path[tree.lengths[root] :] for path, root in zip(paths, roots, strict=True)]
        song, in_song = padded(shared)
        question, in_question = padded(rests)
        self.hidden = ~torch.cat([in_song[self.songs.line], in_question], 1)  # (B, r + q)
        self.first_hidden = _first_hidden(self.hidden)
        self.song_keys = [key[:, song] for key in prefill.keys]  # (H', s, r, D)
        self.song_values = [value[:, song] for value in prefill.values]
        self.question_keys = [key[:, question] for key in prefill.keys]  # (H', B, q, D)
        self.question_values = [value[:, question] for value in prefill.values]
        lengths = torch.tensor([len(path) for path in paths], device=device)
        self.next_positions = lengths.repeat_interleave(self.num_generations)
        heads, _, width = prefill.keys[0].shape
        own = (heads, len(self.next_positions), sampling.max_new_tokens, width)
        self.own_keys = [key.new_empty(own) for key in prefill.keys]
        self.own_values = [value.new_empty(own) for value in prefill.values]
        self.step = 0

    def keep(self, kept: Tensor) -> None:
        """Go on with the prompts at these places (b,) only, which are in increasing order."""
        branches = torch.arange(len(self.next_positions), device=kept.device).unflatten(0, (-1, self.num_generations))
        branches = branches[kept].flatten()
        before, self.songs = self.songs, SongGrid(self.songs.song_of[kept])
        still = torch.isin(before.songs, self.songs.songs)
        self.song_keys = [key[:, still] for key in self.song_keys]
        self.song_values = [value[:, still] for value in self.song_values]
        self.hidden = self.hidden[kept]
        self.next_positions = self.next_positions[branches]
        self.question_keys = [key[:, kept] for key in self.question_keys]
        self.question_values = [value[:, kept] for value in self.question_values]
        self.own_keys = [key[:, branches] for key in self.own_keys]
        self.own_values = [value[:, branches] for value in self.own_values]

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """`query` is (H, B G, D), `key` and `value` (H', B G, D): one token per branch."""
        self.own_keys[layer][:, :, self.step] = key
        self.own_values[layer][:, :, self.step] = value
        own_keys = self.own_keys[layer][:, :, : self.step + 1]
        own_values = self.own_values[layer][:, :, : self.step + 1]

        # (H', B, H/H' G, D): the queries that read the same prompt's keys, side by side
        grouped = (query * scaling).unflatten(0, (key.shape[0], -1)).unflatten(2, (-1, self.num_generations))
        grouped = grouped.transpose(1, 2).flatten(2, 3)
        of_song = self.songs.scatter(self.songs.gather(grouped) @ self.song_keys[layer].transpose(2, 3))
        of_question = grouped @ self.question_keys[layer].transpose(2, 3)
        of_own = self._by_prompt(self._by_branch(grouped) @ own_keys.transpose(2, 3))
        scores = torch.cat([of_song, of_question, of_own], -1)
        hidden = self.hidden[:, None, self.first_hidden :]
        scores[..., self.first_hidden : self.hidden.shape[1]].masked_fill_(hidden, -torch.inf)
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)

        on_song, on_question, on_own = weights.split([s.shape[-1] for s in (of_song, of_question, of_own)], -1)
        output = self.songs.scatter(self.songs.gather(on_song) @ self.song_values[layer])
        output = output + on_question @ self.question_values[layer]
        output = output + self._by_prompt(self._by_branch(on_own) @ own_values)
        by_head: Tensor = output.unflatten(2, (-1, self.num_generations)).transpose(1, 2).reshape(query.shape)
        return by_head

    def _by_branch(self, grouped: Tensor) -> Tensor:
        """(H', B, H/H' G, X) -> (H', B G, H/H', X)."""
        branches: Tensor = grouped.unflatten(2, (-1, self.num_generations)).transpose(2, 3).flatten(1, 2)
        return branches

    def _by_prompt(self, branches: Tensor) -> Tensor:
        """(H', B G, H/H', X) -> (H', B, H/H' G, X)."""
        grouped: Tensor = branches.unflatten(1, (-1, self.num_generations)).transpose(2, 3).flatten(2, 3)
        return grouped


def _first_hidden(hidden: Tensor) -> int:
    """First column that is hidden anywhere: songs of one length leave all the padding to the columns after them."""
    columns = torch.nonzero(hidden.any(0)).flatten()
    return int(columns[0]) if len(columns) else hidden.shape[1]
