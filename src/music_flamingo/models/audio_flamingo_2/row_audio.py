"""Which tokens of a packed row hear which song: those below a root hear that root's audio, and nothing else does."""

from collections import defaultdict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from music_flamingo.batch import PackedBatch
from music_flamingo.models.audio_flamingo_2.cross_attention import attended
from music_flamingo.models.heard_audio import KeyValue


class RowAudio:
    """The audio of a packed row, whose keys and values are computed once per song and layer.

    Args:
        batch: the row.
        features: (A, D) audio tokens of all windows.
        rows_of_song: of each root (K,) those of `features` that it hears; empty for a text without audio.

    Attributes:
        is_heard: (1, N) bool, which tokens have audio to hear; None for all.
    """

    def __init__(self, batch: PackedBatch, features: Tensor, rows_of_song: list[Tensor]) -> None:
        self.features = features
        self.rows_of_song = rows_of_song
        device = features.device
        places = [torch.arange(span.start, span.stop, device=device) for span in _spans(batch)]
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, rows in enumerate(rows_of_song):
            if len(rows):
                by_length[len(rows)].append(number)
        # Songs of one length lie side by side, so that none of their audio is padding.
        self._groups = [
            _Group([places[n] for n in songs], [rows_of_song[n] for n in songs]) for songs in by_length.values()
        ]
        heard = [torch.full((len(p),), len(r) > 0, device=device) for p, r in zip(places, rows_of_song, strict=True)]
        self.is_heard = None if all(map(len, rows_of_song)) else torch.cat(heard)[None]

    def __call__(self, layer: int, query: Tensor, key_value: KeyValue) -> Tensor:
        """See `HeardAudio`; `query` is (1, N, H, D)."""
        return self.attend(query, *key_value(self.features))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(1, N, H, D) queries over keys and values (A, H, D) of `features` -> (1, N, H, D)."""
        output = torch.zeros_like(query)
        for group in self._groups:
            heard = attended(query[0, group.tokens], key[group.audio], value[group.audio])
            output = output.index_put((torch.zeros_like(group.real_tokens), group.real_tokens), heard[group.is_real])
        return output


class _Group:
    """Songs of one length.

    Attributes:
        tokens: (s, L) places of each song's tokens in the row, any in the padding.
        is_real: (s, L) which of them are no padding.
        real_tokens: (R,) those.
        audio: (s, K) places of each song's audio among the features.
    """

    def __init__(self, tokens: list[Tensor], audio: list[Tensor]) -> None:
        self.tokens = pad_sequence(tokens, batch_first=True)
        self.is_real = pad_sequence([torch.ones_like(each, dtype=torch.bool) for each in tokens], batch_first=True)
        self.real_tokens = torch.cat(tokens)
        self.audio = torch.stack(audio)


def _spans(batch: PackedBatch) -> list[slice]:
    """Of each root with all below it, where it stands in the row."""
    tree = batch.tree
    return [slice(tree.slice_of(segments[0]).start, tree.slice_of(segments[-1]).stop) for segments in tree.trees()]
