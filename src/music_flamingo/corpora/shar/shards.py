"""Writing one shard of songs as lhotse reads it: cuts in JSON lines, and a tar file for each kind of recording."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import soundfile
from lhotse import Recording
from lhotse.cut import Cut
from lhotse.shar.utils import to_shar_placeholder
from lhotse.utils import fastcopy

from music_flamingo.corpora.audio_file import check_headers
from music_flamingo.corpora.shar.members import check_name
from music_flamingo.corpora.shar.stored import FIELD, place_of, with_audio
from music_flamingo.corpora.song_audio import UNREADABLE, first_line, source_of
from music_flamingo.errors import UserError

AudioFormat = Literal["original", "flac", "opus"]
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
# Formats of whose samples 16 bits lose nothing, or nothing that was not lost before.
SIXTEEN_BITS = {"PCM_16", "PCM_S8", "PCM_U8", "MPEG_LAYER_III", "VORBIS", "OPUS", "ULAW", "ALAW"}


def write_shard(
    songs: Iterable[Cut], fields: Sequence[str], folder: Path, number: int, audio: AudioFormat
) -> list[str]:
    """Write one shard; the same songs give the same bytes.

    Args:
        songs: of this shard.
        fields: names of their recordings, `recording` and perhaps `sound_2`; a song may lack one.
        folder: where to.
        number: of the shard.
        audio: keep the files' own bytes, or encode anew the part of them that is a song.

    Returns:
        The names of its files, that of the cuts last.

    Raises:
        UserError: a song's audio cannot be read or stored so, or its id leads out of the archive.
    """
    names = [*(f"{field}.{number:06d}.tar" for field in fields), f"cuts.{number:06d}.jsonl"]
    with ExitStack() as stack:
        tars = [stack.enter_context(tarfile.open(folder / name, "w")) for name in names[:-1]]
        lines = stack.enter_context((folder / names[-1]).open("w", encoding="utf-8"))
        for song in songs:
            check_name(song.id, f"cut {song.id}")
            stored = _without_places(song)
            for field, tar in zip(fields, tars, strict=True):
                stored = _store(song, stored, field, tar, audio)
            lines.write(json.dumps(stored.to_dict(), ensure_ascii=False) + "\n")
    return names


def recordings_of(cut: Cut) -> Iterator[str]:
    """Names of what is heard with a cut: `recording`, and those of the recordings in its `custom`."""
    yield "recording"
    yield from (name for name, value in (cut.custom or {}).items() if isinstance(value, Recording))


def _store(song: Cut, stored: Cut, field: str, tar: tarfile.TarFile, audio: AudioFormat) -> Cut:
    """Add a song's recording to its tar file; gives the cut with a placeholder instead."""
    if field not in recordings_of(song):
        _add(tar, f"{song.id}.nodata", b"")
        _add(tar, f"{song.id}.nometa", b"")
        return stored
    heard = _heard(song, field)
    try:
        data, suffix, kept = _own_bytes(heard) if audio == "original" else _encoded(heard, audio)
    except UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{source_of(heard)}: expected audio to store as {audio}, got {first_line(error)}: repair or remove it"
        ) from error
    _add(tar, f"{song.id}{suffix}", data)
    _add(tar, f"{song.id}.json", json.dumps(kept.recording.to_dict()).encode())
    if field == "recording":
        return fastcopy(stored, start=kept.start, channel=kept.channel, recording=kept.recording)
    return fastcopy(stored, custom={**stored.custom, field: kept.recording})


def _heard(song: Cut, field: str) -> Cut:
    """A recording of a song as a cut of its own, its audio within reach."""
    if field == "recording":
        return with_audio(song)
    place = place_of(song, field)
    sound: Cut = (song.custom[field] if place is None else place.fetch()).to_cut()
    return sound


def _own_bytes(cut: Cut) -> tuple[bytes, str, Cut]:
    recording = cut.recording
    (source,) = recording.sources if len(recording.sources) == 1 else (None,)
    if source is None or source.type not in ("file", "memory") or recording.transforms:
        raise UserError(
            f"{source_of(cut)}: expected one audio file without transforms to keep as it is: store with --audio flac"
        )
    kept = fastcopy(cut, recording=to_shar_placeholder(recording))
    if source.type == "memory":
        return source.source, ".audio", kept
    path = Path(source.source)
    return path.read_bytes(), path.suffix or ".audio", kept


def _encoded(cut: Cut, audio: AudioFormat) -> tuple[bytes, str, Cut]:
    check_headers(cut, source_of(cut))
    if audio == "opus" and cut.sampling_rate not in OPUS_RATES:
        cut = cut.resample(OPUS_RATES[-1])
    encoded = io.BytesIO()
    form = (
        {"format": "OGG", "subtype": "OPUS"} if audio == "opus" else {"format": "FLAC", "subtype": _flac_subtype(cut)}
    )
    soundfile.write(encoded, cut.load_audio().T, cut.sampling_rate, **form)
    channels = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
    recording = to_shar_placeholder(cut.recording, cut)
    recording.channel_ids = recording.sources[0].channels = channels
    return encoded.getvalue(), f".{audio}", fastcopy(cut, start=0, recording=recording)


def _flac_subtype(cut: Cut) -> str:
    files = [source.source for source in cut.recording.sources if source.type == "file"]
    few = len(files) == len(cut.recording.sources) and all(soundfile.info(f).subtype in SIXTEEN_BITS for f in files)
    return "PCM_16" if few and not cut.recording.transforms else "PCM_24"


def _without_places(cut: Cut) -> Cut:
    custom = {name: value for name, value in (cut.custom or {}).items() if name != FIELD}
    return fastcopy(cut, custom=custom)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # of no time and no owner: the same songs give the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
