"""What is wrong with one song before its audio is opened, and what of its audio is to be opened."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import AudioSource
from lhotse.cut import Cut

from music_flamingo.corpora.inspection.audio_scan import TOLERATED_SECONDS, AudioFile, AudioJob
from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.corpora.inspection.paths import escape
from music_flamingo.corpora.inspection.text_checks import text_problems


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
    if not cut.has_recording or not cut.recording.sources:
        yield replace(whole, kind="missing", detail="the cut names no audio")
        return
    disagreement = _own_disagreement(cut)
    if disagreement is not None:
        yield replace(whole, kind="wrong_manifest", detail=disagreement)
    for source in cut.recording.sources:
        complaint = _source_complaint(corpus, source, limits)
        if complaint is not None:
            kind, detail = complaint
            yield replace(whole, kind=kind, detail=detail, path=_shown(source))


def audio_job(corpus: Path, split: str, cut: Cut, limits: SongLimits) -> AudioJob | None:
    """The audio to open; None where there is none, or it may not be opened."""
    sources = cut.recording.sources if cut.has_recording else []
    if not sources or any(_source_complaint(corpus, source, limits) for source in sources):
        return None
    recording = cut.recording
    is_whole = cut.start == 0 and abs(cut.duration - recording.duration) <= TOLERATED_SECONDS
    # Transforms (speed, resampling) change rate and length: what the file itself has, the manifest does not say then.
    is_plain = not recording.transforms
    return AudioJob(
        cut=cut.id,
        split=split,
        files=tuple(_audio_file(corpus, source) for source in sources),
        start=cut.start if is_plain else 0.0,
        seconds=None if is_whole or not is_plain else cut.duration,
        sampling_rate=recording.sampling_rate if is_plain else None,
        num_samples=recording.num_samples if is_plain else None,
        max_decoded_seconds=3600 * limits.max_decoded_hours,
    )


def _audio_file(corpus: Path, source: AudioSource) -> AudioFile:
    content = source.source if isinstance(source.source, bytes) else os.path.normpath(corpus / str(source.source))
    return AudioFile(_shown(source), content, len(source.channels))


def _source_complaint(corpus: Path, source: AudioSource, limits: SongLimits) -> tuple[str, str] | None:
    if source.type == "memory" and isinstance(source.source, bytes):
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


def _path_of(cut: Cut) -> str | None:
    return _shown(cut.recording.sources[0]) if cut.has_recording and cut.recording.sources else None


def _shown(source: AudioSource) -> str:
    return "(no file of its own)" if isinstance(source.source, bytes) else str(source.source)[:300]
