"""Do the fields of a cut hold what they must? lhotse takes any JSON there, and fails somewhere else later."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lhotse import AudioSource, Recording
from lhotse.cut import Cut

from music_flamingo.errors import UserError

_MOST_SAMPLES = 2**53
"""More cannot be counted in float64, by which lengths are compared."""


def wrong_field(cut: Cut) -> str | None:
    """The first field that cannot be right, as "field: expected this, got that"; None where there is none."""
    return next(_wrong_fields(cut), None)


def truth_of(cut_id: str, custom: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts of a song by name, of a cut with these custom fields.

    Raises:
        UserError: it has none.
    """
    truth = custom.get("truth")
    if not isinstance(truth, Mapping):
        raise UserError(
            f"cut {cut_id}: {_said('custom.truth', 'facts of the song by name', truth)}: add them, or leave the cut out"
        )
    return truth


def is_caption(written: Any) -> bool:
    """Whether this is an entry of `custom.captions`: a text, and negatives that may be none."""
    if not isinstance(written, dict):
        return False
    text, negatives = written.get("text"), written.get("negatives")
    texts = [text, *negatives] if isinstance(negatives, list) else [None]
    return all(isinstance(each, str) and each.strip() for each in texts)


def _wrong_fields(cut: Cut) -> Iterator[str]:
    if not _is_text(cut.id):
        yield _said("id", "text", cut.id)
    for name, value in (("start", cut.start), ("duration", cut.duration)):
        if not _is_number(value):
            yield _said(name, "seconds", value)
    if not isinstance(cut.custom, dict) or not isinstance(cut.custom.get("conversations"), list):
        yield _said("custom.conversations", "a list", (cut.custom or {}).get("conversations"))
    if cut.recording is not None:
        yield from (f"recording.{complaint}" for complaint in _wrong_of_recording(cut.recording))


def _wrong_of_recording(recording: Any) -> Iterator[str]:
    if not isinstance(recording, Recording):
        yield _said("id", "a recording", recording)
        return
    if not _is_text(recording.id):
        yield _said("id", "text", recording.id)
    if not _is_count(recording.sampling_rate) or recording.sampling_rate == 0:
        yield _said("sampling_rate", "a positive whole number", recording.sampling_rate)
    if not _is_count(recording.num_samples):
        yield _said("num_samples", "a whole number", recording.num_samples)
    if not _is_number(recording.duration):
        yield _said("duration", "seconds", recording.duration)
    if not isinstance(recording.sources, list):
        yield _said("sources", "a list", recording.sources)
        return
    for source in recording.sources:
        yield from (f"sources.{complaint}" for complaint in _wrong_of_source(source))


def _wrong_of_source(source: AudioSource) -> Iterator[str]:
    if not _is_text(source.type):
        yield _said("type", "text", source.type)
    if not isinstance(source.source, bytes) and not _is_text(source.source):
        yield _said("source", "a path", source.source)
    if not isinstance(source.channels, list) or not all(_is_count(channel) for channel in source.channels):
        yield _said("channels", "a list of whole numbers", source.channels)


def _said(field: str, expected: str, found: Any) -> str:
    return f"{field}: expected {expected}, got {ascii(found)[:80]}"


def _is_text(value: Any) -> bool:
    """Whether it can be written, too: JSON may hold halves of characters."""
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode("utf-8")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value < _MOST_SAMPLES


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_SAMPLES
