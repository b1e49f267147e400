"""How do all prompts on a song read its keys at once? Their queries stand in one matrix beside one another."""

import torch
from torch import Tensor


class SongGrid:
    """Lays prompts into lines of one song each, and back.

    Args:
        song_of: (B,) the song of each prompt, by any number; prompts on one song stand together.

    Attributes:
        songs: (s,) those that have prompts.
        line: (B,) which of `songs` each prompt is on.
    """

    def __init__(self, song_of: Tensor) -> None:
        self.song_of = song_of
        self.songs: Tensor
        self.line: Tensor
        self.songs, self.line, counts = song_of.unique_consecutive(return_inverse=True, return_counts=True)
        self._columns = int(counts.max())
        column = torch.arange(len(song_of), device=song_of.device) - (counts.cumsum(0) - counts)[self.line]
        self._cells = self.line * self._columns + column
        self._is_full = bool((counts == self._columns).all())
        self._prompts = torch.zeros(len(self.songs) * self._columns, dtype=torch.long, device=song_of.device)
        self._prompts[self._cells] = torch.arange(len(song_of), device=song_of.device)

    def gather(self, prompts: Tensor) -> Tensor:
        """(H', B, n, X) -> (H', s, columns n, X), any prompt in the cells left over."""
        cells = prompts if self._is_full else prompts[:, self._prompts]
        lines: Tensor = cells.unflatten(1, (-1, self._columns)).flatten(2, 3)
        return lines

    def scatter(self, lines: Tensor) -> Tensor:
        """(H', s, columns n, X) -> (H', B, n, X)."""
        cells: Tensor = lines.unflatten(2, (self._columns, -1)).flatten(1, 2)
        return cells if self._is_full else cells[:, self._cells]
