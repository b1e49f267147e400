"""Which split a song belongs to: the one its records name, else one drawn from its name alone."""

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

SPLITS = ("train", "val", "test")
_HASH_BYTES = 8
_HASHES_KEPT = 1 << 16
"""Songs come again, once for each conversation about them."""
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def known_split(name: str | None) -> str | None:
    """train, val or test by any of their usual names, else None."""
    return None if name is None else _NAMES.get(name.strip().lower())


@lru_cache(_HASHES_KEPT)
def stable_hash(name: str) -> int:
    """64 bits that are the same in every process and on every machine."""
    return int.from_bytes(blake2b(name.encode(), digest_size=_HASH_BYTES).digest(), "big")


def drawn_split(song: int, val_share: float, test_share: float) -> str:
    """The split that a song's hash falls into."""
    position = song / 2 ** (8 * _HASH_BYTES)
    if position < val_share:
        return "val"
    return "test" if position < val_share + test_share else "train"


@dataclass
class SongSplits:
    """Splits of files, all files of a piece in one.

    What records say is noted first, then settled, then asked for. A song that records put into several splits belongs
    to the one furthest from training. Only hashes are held, and only of files whose records say something.

    Args:
        forced: the split of everything, whatever records say.
        val_share: share of songs in validation, where records do not say.
        test_share: the same for test.
    """

    forced: str | None = None
    val_share: float = 0.02
    test_share: float = 0.02
    _pieces: dict[int, int] = field(default_factory=dict)
    _named: dict[int, str] = field(default_factory=dict)

    def note(self, file: str, piece: str | None, split: str | None) -> None:
        """What one record says about a file: its piece (the first one counts) and its split."""
        if self.forced or (piece is None and split is None):
            return
        song = stable_hash(file)
        if piece is not None:
            song = self._pieces.setdefault(song, stable_hash(piece))
        if split is not None:
            self._name(song, split)

    def settle(self) -> None:
        """Let splits that were told of a file hold for its piece."""
        for file, piece in self._pieces.items():
            if file in self._named:
                self._name(piece, self._named[file])

    def split_of(self, file: str) -> str:
        """The split of a file, and of all files of its piece."""
        if self.forced:
            return self.forced
        song = stable_hash(file)
        song = self._pieces.get(song, song)
        return self._named.get(song) or drawn_split(song, self.val_share, self.test_share)

    def _name(self, song: int, split: str) -> None:
        self._named[song] = max(split, self._named.get(song, split), key=SPLITS.index)
