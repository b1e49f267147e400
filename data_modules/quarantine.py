"""Training without the songs and conversations that `music-flamingo data check` put into quarantine."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from music_flamingo.corpora.inspection.quarantine import quarantine_path, read_quarantine
from music_flamingo.corpora.places import is_url
from music_flamingo.corpora.song_lines import Songs


class SongsWithoutQuarantine(Songs):
    """Songs of a corpus, of whose conversations those in quarantine are left out.

    All songs keep their numbers, so that a file of quarantine that grows while a run is interrupted changes no order:
    of a song in quarantine no conversation is left.

    Args:
        songs: of a split.
        corpus: folder that may hold the file.

    Raises:
        UserError: a line of the file cannot be read.
    """

    def __init__(self, songs: Songs, corpus: str) -> None:
        lines = [] if is_url(corpus) else read_quarantine(Path(corpus))
        self.songs = songs
        self.left_out = {line.cut for line in lines if line.conversation is None}
        pairs = {(line.cut, line.conversation) for line in lines if line.conversation is not None}
        self.left_out_conversations = {pair for pair in pairs if pair[0] not in self.left_out}

    def __len__(self) -> int:
        return len(self.songs)

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        return self.songs.durations

    def _song(self, number: int) -> Cut:
        cut = self.songs[number]
        if not (self.left_out or self.left_out_conversations):
            return cut
        asked = [] if cut.id in self.left_out else cut.custom["conversations"]
        kept = [each for each in asked if (cut.id, each["id"]) not in self.left_out_conversations]
        return fastcopy(cut, custom={**cut.custom, "conversations": kept})


def quarantine_line(songs: SongsWithoutQuarantine, corpus: str) -> str | None:
    """What a person is told of the quarantine; None where nothing is in it."""
    if not (songs.left_out or songs.left_out_conversations):
        return None
    what = f"{_count(len(songs.left_out), 'song')} and {_count(len(songs.left_out_conversations), 'conversation')}"
    return f"left out: {what} in quarantine ({quarantine_path(Path(corpus))})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
