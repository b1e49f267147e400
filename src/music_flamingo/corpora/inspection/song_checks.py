"""What is wrong with one song before its audio is opened, and what of its audio is to be opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import AudioSource
from lhotse.cut import Cut

from music_flamingo.corpora.inspection.audio_scan import TOLERATED_SECONDS, AudioFile, AudioJob
from music_flamingo.corpora.inspection.file_range import FileRange
from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.paths import escape
from music_flamingo.corpora.inspection.text_checks import text_problems
from music_flamingo.corpora.shar.stored import place_of
from music_flamingo.corpora.song_audio import sounds_of
from music_flamingo.errors import UserError


@dataclass(frozen=True)
class SongLimits:
    """What a song may be.

    Attributes:
        max_seconds: longest that the model takes.
        max_decoded_hours: of one file; above it nothing is decoded.
        allow_outside: let paths lead out of the corpus folder.
    """

    max_seconds: float = 1200.0
    max_decoded_hours: float = 4.0
    allow_outside: bool = False


def manifest_findings(corpus: Path, split: str, cut: Cut, limits: SongLimits) -> Iterator[Finding]:
    """What is wrong with a song by its manifest: texts, length, paths."""
    whole = Finding("bad_line", "", cut=cut.id, split=split, path=_path_of(cut))
    for kind, detail, conversation in text_problems(cut.custom["conversations"]):
        yield replace(whole, kind=kind, detail=detail, conversation=conversation, path=None)
    if cut.duration > limits.max_seconds:
        yield replace(whole, kind="too_long", detail=f"{cut.duration:.1f} s, more than {limits.max_seconds:g} s")
    try:
        sounds = sounds_of(cut)
    except UserError as error:
        yield replace(whole, detail=str(error))
        return
    for sound in sounds:
        yield from _sound_findings(corpus, sound, limits, replace(whole, path=_path_of(sound)))


def audio_job(corpus: Path, split: str, cut: Cut, limits: SongLimits) -> AudioJob | None:
    """The audio to open; None where there is none, or some of it may not be opened."""
    try:
        sounds = sounds_of(cut)
    except UserError:
        return None
    if not all(_may_be_opened(corpus, sound, limits) for sound in sounds):
        return None
    files = tuple(_audio_file(corpus, sound, source) for sound in sounds for source in sound.recording.sources)
    return AudioJob(cut.id, split, files, max_decoded_seconds=3600 * limits.max_decoded_hours)


def _sound_findings(corpus: Path, sound: Cut, limits: SongLimits, whole: Finding) -> Iterator[Finding]:
    if not _sources(sound):
        yield replace(whole, kind="missing", detail="the cut names no audio")
        return
    disagreement = _own_disagreement(sound)
    if disagreement is not None:
        yield replace(whole, kind="wrong_manifest", detail=disagreement)
    for source in _sources(sound):
        complaint = _source_complaint(corpus, sound, source, limits)
        if complaint is not None:
            kind, detail = complaint
            yield replace(whole, kind=kind, detail=detail, path=_shown(sound, source))


def _may_be_opened(corpus: Path, sound: Cut, limits: SongLimits) -> bool:
    sources = _sources(sound)
    return bool(sources) and not any(_source_complaint(corpus, sound, source, limits) for source in sources)


def _sources(sound: Cut) -> list[AudioSource]:
    return list(sound.recording.sources) if sound.has_recording else []


def _audio_file(corpus: Path, sound: Cut, source: AudioSource) -> AudioFile:
    recording = sound.recording
    is_whole = sound.start == 0 and abs(sound.duration - recording.duration) <= TOLERATED_SECONDS
    # Transforms (speed, resampling) change rate and length: what the file itself has, the manifest does not say then.
    is_plain = not recording.transforms
    return AudioFile(
        shown=_shown(sound, source),
        content=_content(corpus, sound, source),
        num_channels=len(source.channels),
        start=sound.start if is_plain else 0.0,
        seconds=None if is_whole or not is_plain else sound.duration,
        sampling_rate=recording.sampling_rate if is_plain else None,
        num_samples=recording.num_samples if is_plain else None,
    )


def _content(corpus: Path, sound: Cut, source: AudioSource) -> str | bytes | FileRange:
    place = place_of(sound)
    if place is not None:
        return FileRange(place.tar, place.start, place.size)
    return source.source if isinstance(source.source, bytes) else os.path.normpath(corpus / str(source.source))


def _source_complaint(corpus: Path, sound: Cut, source: AudioSource, limits: SongLimits) -> tuple[str, str] | None:
    if place_of(sound) is not None or (source.type == "memory" and isinstance(source.source, bytes)):
        return None
    if source.type != "file":
        return "not_a_file", f"a source of type {source.type!r}"
    return None if limits.allow_outside and "\0" not in source.source else escape(corpus, source.source)


def _own_disagreement(cut: Cut) -> str | None:
    """Numbers of the manifest that do not fit one another."""
    recording = cut.recording
    seconds = recording.num_samples / recording.sampling_rate if recording.sampling_rate else 0.0
    if abs(seconds - recording.duration) > TOLERATED_SECONDS:
        return f"{recording.num_samples} samples at {recording.sampling_rate} Hz are not {recording.duration:.2f} s"
    if cut.end > recording.duration + TOLERATED_SECONDS:
        return f"the cut ends at {cut.end:.2f} s, its recording at {recording.duration:.2f} s"
    return None


def _path_of(sound: Cut) -> str | None:
    sources = _sources(sound)
    return _shown(sound, sources[0]) if sources else None


def _shown(sound: Cut, source: AudioSource) -> str:
    place = place_of(sound)
    if place is not None:
        return "/".join(Path(place.tar).parts[-2:])
    return "(no file of its own)" if isinstance(source.source, bytes) else str(source.source)[:300]
