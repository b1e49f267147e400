"""Reading a song: any rate and number of channels in, a checked mono waveform out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from lhotse import Recording
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut

from music_flamingo.errors import UserError


def load_waveform(cut: Cut, sampling_rate: int) -> npt.NDArray[np.float32]:
    """(S,) float32 mono samples of a cut at `sampling_rate`, channels averaged.

    Raises:
        UserError: the audio is missing, unreadable, shorter than its manifest says, empty, or holds NaN or infinite
            samples.
    """
    source = _source_of(cut)
    try:
        samples = cut.resample(sampling_rate).load_audio()
    except (
        AudioLoadingError,
        DurationMismatchError,
        soundfile.LibsndfileError,
        OSError,
        ValueError,
    ) as error:
        raise UserError(
            f"{source}: expected readable audio, got {_first_line(error)}: repair or remove the file"
        ) from error
    waveform: npt.NDArray[np.float32] = np.asarray(samples, dtype=np.float32).mean(axis=0, dtype=np.float32)
    if not waveform.size:
        raise UserError(f"{source}: expected audio, got 0 samples: remove the file from the corpus")
    if not np.isfinite(waveform).all():
        raise UserError(f"{source}: expected finite samples, got NaN or infinity: repair or remove the file")
    expected = round(cut.duration * sampling_rate)
    if len(waveform) < expected - sampling_rate // 20:
        raise UserError(
            f"{source}: expected {cut.duration:.2f} s of audio, got {len(waveform) / sampling_rate:.2f} s: cut short?"
        )
    return waveform


def song_cut(song: Path) -> Cut:
    """The whole of one audio file (wav, flac, mp3, ogg, opus) as a cut.

    Raises:
        UserError: the file is missing, not audio, or empty.
    """
    if not song.is_file():
        raise UserError(f"{song}: expected an audio file, but it does not exist: check the path")
    try:
        recording = Recording.from_file(song)
    except (AudioLoadingError, soundfile.LibsndfileError, OSError, ValueError, AssertionError) as error:
        raise UserError(
            f"{song}: expected wav, flac, mp3, ogg or opus, got {_first_line(error)}: convert or replace it"
        ) from error
    if recording.num_samples < 1:
        raise UserError(f"{song}: expected audio, got 0 samples: replace the file")
    return recording.to_cut()


def _source_of(cut: Cut) -> str:
    if cut.has_recording and cut.recording.sources:
        return str(cut.recording.sources[0].source)
    return f"cut {cut.id}"


def _first_line(error: Exception) -> str:
    """What went wrong, without the arguments that lhotse prints after it."""
    lines = [line.strip() for line in str(error).partition("[extra info]")[0].splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
