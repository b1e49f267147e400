"""Cross-attention while completions are decoded: a song's keys are computed once, and serve all completions on it."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from music_flamingo.batch import PrefixTree
from music_flamingo.kernels.row_layout import padded
from music_flamingo.models.heard_audio import HeardRow, KeyValue
from music_flamingo.rollout.song_grid import SongGrid


class RecordingAudio:
    """What a row hears in the prefill, keeping each layer's keys and values (A, H, D).

    Attributes:
        is_heard: see `HeardAudio`.
    """

    def __init__(self, row: HeardRow) -> None:
        self.row = row
        self.is_heard = row.is_heard
        self.key_values: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, layer: int, query: Tensor, key_value: KeyValue) -> Tensor:
        """See `HeardAudio`."""
        self.key_values[layer] = key_value(self.row.features)
        return self.row.attend(query, *self.key_values[layer])


class BranchAudio:
    """What one new token per branch hears, G branches for each of B prompts on S songs.

    Args:
        prefill: keys and values of the row.
        tree: layout of the row.
        prompts: segments that are continued, in the row's order.
        num_generations: G.

    Attributes:
        is_heard: (1, B G), which branches have audio; None for all.
    """

    def __init__(self, prefill: RecordingAudio, tree: PrefixTree, prompts: list[int], num_generations: int) -> None:
        device = prefill.row.features.device
        numbers = {root: number for number, root in enumerate(tree.roots())}
        songs = [numbers[tree.root_of(prompt)] for prompt in prompts]
        self.num_generations = num_generations
        self.songs = SongGrid(torch.tensor(songs, device=device))
        rows, is_real = padded([prefill.row.rows_of_song[song] for song in self.songs.songs.tolist()])
        self._has_audio = is_real.any(1)  # (s,)
        # A song without audio sees its padding, whose result nobody uses: no softmax of nothing.
        self._mask = (is_real | ~self._has_audio[:, None])[:, None, None]  # (s, 1, 1, K)
        self._key_values = {
            layer: (key[rows].transpose(1, 2), value[rows].transpose(1, 2))  # (s, H, K, D)
            for layer, (key, value) in prefill.key_values.items()
        }

    @property
    def is_heard(self) -> Tensor | None:
        if bool(self._has_audio.all()):
            return None
        return self._has_audio[self.songs.line].repeat_interleave(self.num_generations)[None]

    def keep(self, kept: Tensor) -> None:
        """Go on with the prompts at these places (b,) only, which are in increasing order."""
        before, self.songs = self.songs, SongGrid(self.songs.song_of[kept])
        still = torch.isin(before.songs, self.songs.songs)
        self._has_audio, self._mask = self._has_audio[still], self._mask[still]
        self._key_values = {layer: (key[still], value[still]) for layer, (key, value) in self._key_values.items()}

    def __call__(self, layer: int, query: Tensor, key_value: KeyValue) -> Tensor:
        """See `HeardAudio`; `query` is (1, B G, H, D), one token per branch."""
        key, value = self._key_values[layer]
        by_prompt = query[0].unflatten(0, (-1, self.num_generations)).permute(2, 0, 1, 3)  # (H, B, G, D)
        lines = self.songs.gather(by_prompt).transpose(0, 1)  # (s, H, columns G, D)
        heard = scaled_dot_product_attention(lines, key, value, attn_mask=self._mask)
        by_branch: Tensor = self.songs.scatter(heard.transpose(0, 1)).permute(1, 2, 0, 3).flatten(0, 1)
        return by_branch[None]
