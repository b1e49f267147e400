"""Audio in a tar file: a cut says where, in few words, and the bytes are fetched when it is listened to."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from lhotse import Recording
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from music_flamingo.corpora.places import read_bytes
from music_flamingo.errors import UserError

FIELD = "shar"
"""Key in a cut's `custom` below which `StoredSound`s stand as dicts, by the name of the recording."""


@dataclass(frozen=True)
class StoredSound:
    """A recording in a tar file: the encoded audio, and somewhere behind it its lhotse manifest.

    Args:
        tar: path or URL.
        start: first byte of the audio.
        size: bytes of audio; 0 for none.
        about_start: first byte of the manifest.
        about_size: its bytes.
    """

    tar: str
    start: int
    size: int
    about_start: int
    about_size: int

    def fetch(self) -> Recording:
        """The recording with its audio in memory, by one request.

        Raises:
            UserError: there is none, or the tar file is another one.
        """
        if not self.size:
            raise UserError(f"{self.tar}: expected audio, got a placeholder for none: remove its cut from the corpus")
        data = read_bytes(self.tar, self.start, self.about_start + self.about_size - self.start)
        try:
            recording = Recording.from_dict(json.loads(data[self.about_start - self.start :]))
            (source,) = recording.sources
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.tar}: expected a recording at byte {self.about_start}, got {type(error).__name__}: make its "
                "index again (music-flamingo data shar-index)"
            ) from error
        source.type, source.source = "memory", data[: self.size]
        return recording


def with_places(cut: Cut, places: dict[str, StoredSound]) -> Cut:
    """A cut that says where its recordings are stored; by name, `recording` for its own."""
    return fastcopy(cut, custom={**(cut.custom or {}), FIELD: {name: asdict(place) for name, place in places.items()}})


def place_of(cut: Cut, name: str = "recording") -> StoredSound | None:
    """Where a recording of a cut is stored; None where it is not in a tar file."""
    places: dict[str, Any] = (cut.custom or {}).get(FIELD, {})
    return StoredSound(**places[name]) if name in places else None


def with_audio(cut: Cut) -> Cut:
    """The cut with its recording fetched; as it is, where that is not in a tar file.

    Raises:
        UserError: the recording cannot be fetched.
    """
    place = place_of(cut)
    return cut if place is None else fastcopy(cut, recording=place.fetch())
