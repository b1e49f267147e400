"""Opening the songs of a corpus, however they are stored."""

from pathlib import Path

from music_flamingo.corpora.song_lines import IndexedSongs, ListedSongs, Songs
from music_flamingo.errors import UserError


def open_songs(corpus: str | Path, split: str) -> Songs:
    """The songs of one split, any of which can be read by its number.

    `cuts_{split}.jsonl.gz` is read at once. Of a plain `cuts_{split}.jsonl` each song is read when it is asked for, in
    memory that does not grow with the corpus.

    Raises:
        UserError: the folder holds no such split, or holds it more than once.
    """
    compressed, plain = (Path(corpus) / f"cuts_{split}.{ending}" for ending in ("jsonl.gz", "jsonl"))
    found = [path for path in (compressed, plain) if path.exists()]
    if not found:
        raise UserError(f"expected the {split} cuts in {compressed}, which does not exist: make a corpus there first")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"{corpus}: expected the {split} cuts once, got {names}: remove all but one")
    return IndexedSongs(plain) if found == [plain] else ListedSongs(compressed)
