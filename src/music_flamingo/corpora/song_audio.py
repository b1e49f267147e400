"""Reading a song: any rate and number of channels in, a checked mono waveform out, whole or block by block."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from lhotse import AudioSource, Recording
from lhotse.audio.utils import (
    AudioLoadingError,
    DurationMismatchError,
    get_audio_duration_mismatch_tolerance,
)
from lhotse.cut import Cut
from lhotse.utils import compute_num_samples

from music_flamingo.corpora.audio_file import check_headers, check_rate, check_sources, is_one_file, mono_pieces
from music_flamingo.corpora.resampling import Samples, resampled
from music_flamingo.corpora.shar.stored import place_of, with_audio, with_places
from music_flamingo.errors import UserError

UNREADABLE = (AudioLoadingError, DurationMismatchError, soundfile.LibsndfileError, OSError, ValueError)
_FURTHER_SOUND = re.compile(r"sound_(\d+)")


def load_waveform(cut: Cut, sampling_rate: int) -> Samples:
    """(S,) float32 mono samples of a cut at `sampling_rate`, channels averaged.

    Raises:
        UserError: the audio is missing, unreadable, shorter than its manifest says, empty, longer than any song, or
            holds NaN or infinite samples.
    """
    return np.concatenate(list(waveform_blocks(cut, sampling_rate, max(1, round(cut.duration * sampling_rate)))))


def waveform_blocks(cut: Cut, sampling_rate: int, block_samples: int) -> Iterator[Samples]:
    """The same samples in blocks of `block_samples`, the last one shorter, in memory for little more than one block.

    A cut of one file without transforms is decoded and resampled as far as blocks are asked for; a cut of anything else
    lhotse loads whole.

    Raises:
        UserError: as `load_waveform` does, once the samples in question are reached.
    """
    source = source_of(cut)
    wanted = compute_num_samples(cut.duration, sampling_rate)
    try:
        cut = with_audio(cut)
        if not cut.has_recording:
            raise UserError(f"{source}: expected a recording, got none: remove the cut from the corpus")
        check_sources(cut, source)
        check_rate(cut.sampling_rate, source)
        if is_one_file(cut):
            pieces = resampled(mono_pieces(cut, source), cut.sampling_rate, sampling_rate)
        else:
            check_headers(cut, source)
            whole = np.asarray(cut.load_audio(), dtype=np.float32)
            pieces = resampled([whole.mean(axis=0, dtype=np.float32)], cut.sampling_rate, sampling_rate)
        for block in _in_blocks(_as_long_as(pieces, wanted, sampling_rate, source), block_samples):
            if not np.isfinite(block).all():
                raise UserError(f"{source}: expected finite samples, got NaN or infinity: repair or remove the file")
            yield block
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(
            f"{source}: expected readable audio, got {first_line(error)}: repair or remove the file"
        ) from error


def song_cut(song: Path) -> Cut:
    """The whole of one audio file (wav, flac, mp3, ogg, opus) as a cut.

    Raises:
        UserError: the file is missing, not audio, or empty.
    """
    if not song.is_file():
        raise UserError(f"{song}: expected an audio file, but it does not exist: check the path")
    try:
        # Not lhotse's `Recording.from_file`, which hands what libsndfile refuses to ffmpeg and other programs.
        header = soundfile.info(song)
        sources = [AudioSource("file", channels=list(range(header.channels)), source=str(song))]
        recording = Recording(song.stem, sources, header.samplerate, header.frames, header.duration)
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise UserError(
            f"{song}: expected wav, flac, mp3, ogg or opus, got {first_line(error)}: convert or replace it"
        ) from error
    if recording.num_samples < 1:
        raise UserError(f"{song}: expected audio, got 0 samples: replace the file")
    return recording.to_cut()


def sounds_of(cut: Cut) -> list[Cut]:
    """All that is heard with a cut: itself, then the recordings `sound_2`, `sound_3` and so on in its `custom`, whole.

    Raises:
        UserError: one of those is no lhotse recording, or a number is left out.
    """
    custom = cut.custom or {}
    numbers = sorted(int(found[1]) for name in custom if (found := _FURTHER_SOUND.fullmatch(name)))
    if numbers != list(range(2, 2 + len(numbers))):
        raise UserError(f"cut {cut.id}: expected custom.sound_2, sound_3 and so on, got numbers {numbers}: rename them")
    return [cut, *(_further_sound(cut, f"sound_{number}") for number in numbers)]


def source_of(cut: Cut) -> str:
    """Where a cut's audio lies, for messages."""
    if (place := place_of(cut)) is not None:
        return f"{place.tar} (cut {cut.id})"
    if cut.has_recording and cut.recording.sources and isinstance(cut.recording.sources[0].source, str):
        return str(cut.recording.sources[0].source)
    return f"cut {cut.id}"


def _further_sound(cut: Cut, name: str) -> Cut:
    recording = cut.custom[name]
    if not isinstance(recording, Recording):
        raise UserError(f"cut {cut.id}: custom.{name}: expected a lhotse recording, got {recording!r:.60}: mend it")
    sound: Cut = recording.to_cut()
    sound.id = f"{cut.id}-{name}"
    place = place_of(cut, name)
    return sound if place is None else with_places(sound, {"recording": place})


def _as_long_as(pieces: Iterable[Samples], wanted: int, sampling_rate: int, source: str) -> Iterator[Samples]:
    """No more samples than the manifest says; where some are missing, as few as lhotse tolerates, the end mirrored."""
    tolerated = round(get_audio_duration_mismatch_tolerance() * sampling_rate)
    given, end = 0, np.empty(0, np.float32)
    for piece in pieces:
        kept = piece[: wanted - given]
        given += len(kept)
        end = np.concatenate([end, kept])[-tolerated - 1 :]
        yield kept
    if not given:
        raise UserError(f"{source}: expected audio, got 0 samples: remove the file from the corpus")
    if wanted - given > tolerated:
        raise UserError(
            f"{source}: expected {wanted / sampling_rate:.2f} s of audio, got {given / sampling_rate:.2f} s: cut short?"
        )
    if given < wanted:
        yield np.pad(end, (0, wanted - given), "reflect")[len(end) :]


def _in_blocks(pieces: Iterable[Samples], size: int) -> Iterator[Samples]:
    held: list[Samples] = []
    room = size
    for piece in pieces:
        rest = piece
        while len(rest) >= room:
            yield np.concatenate([*held, rest[:room]])
            held, rest, room = [], rest[room:], size
        if len(rest):
            held.append(rest)
            room -= len(rest)
    if held:
        yield np.concatenate(held)


def first_line(error: Exception) -> str:
    """What went wrong, without the arguments that lhotse prints after it."""
    lines = [line.strip() for line in str(error).partition("[extra info]")[0].splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
