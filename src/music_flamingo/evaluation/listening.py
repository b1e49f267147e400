"""Clips for the report: which held-out samples to show, their sound, their waveform and what happens when."""

import base64
import io
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse.cut import Cut
from numpy.typing import NDArray

from music_flamingo.evaluation.prediction import Prediction

# A full song would fill the page: its first minute is enough to judge an answer by ear.
MAX_SECONDS = 60.0
_WAVEFORM_COLUMNS = 300
_LANES = ("section", "enters", "change", "chord")


@dataclass(frozen=True)
class Sample:
    """A prediction to show.

    Args:
        chosen: "worst" for the lowest rewards, "random" for a draw from the rest.
    """

    prediction: Prediction
    chosen: str


@dataclass(frozen=True)
class Mark:
    """Something that happens in a clip, from the truth.

    Args:
        lane: row it is drawn in, one of `_LANES`.
        share: position as a share of the clip shown, 0..1.
    """

    lane: str
    label: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Clip:
    """A clip as the page embeds it.

    Args:
        audio: data URI.
        waveform: SVG path in a box 300 wide and 2 high, silence at height 1.
        shown_seconds: less than `seconds` when only the beginning is embedded.
    """

    audio: str
    waveform: str
    seconds: float
    shown_seconds: float
    marks: list[Mark]

    @property
    def lanes(self) -> dict[str, list[Mark]]:
        """Marks by the row they are drawn in, rows from top to bottom."""
        rows = {lane: [mark for mark in self.marks if mark.lane == lane] for lane in _LANES}
        return {lane: marks for lane, marks in rows.items() if marks}


def choose_samples(predictions: Iterable[Prediction], each: int = 10, seed: int = 0) -> list[Sample]:
    """The worst and as many random predictions, from different clips as long as there are enough.

    The worst come first, lowest reward first, equals in random order.
    """
    pool = list(predictions)
    random.Random(seed).shuffle(pool)
    worst = _take(sorted(pool, key=_badness), each, seen=set())
    shown = {row.conversation for row in worst}
    rest = [row for row in pool if row.conversation not in shown]
    drawn = _take(rest, each, seen={row.cut for row in worst})
    return [Sample(row, "worst") for row in worst] + [Sample(row, "random") for row in drawn]


def _badness(prediction: Prediction) -> tuple[float, bool]:
    reward = prediction.reward if prediction.reward is not None else float("inf")
    return reward, prediction.correct is not False


def _take(ordered: Sequence[Prediction], count: int, seen: set[str]) -> list[Prediction]:
    """The first `count`, new clips before clips already seen; order kept."""
    fresh: list[Prediction] = []
    again: list[Prediction] = []
    for row in ordered:
        (again if row.cut in seen else fresh).append(row)
        seen.add(row.cut)
    taken = {row.conversation for row in [*fresh, *again][:count]}
    return [row for row in ordered if row.conversation in taken]


def read_clip(cut: Cut) -> Clip | None:
    """Decode, draw and encode the beginning of a cut; None when its audio file is gone."""
    sources = cut.recording.sources if cut.recording is not None else []
    if not all(Path(source.source).is_file() for source in sources):
        return None
    shown = min(cut.duration, MAX_SECONDS)
    audio = cut.truncate(duration=shown).load_audio() if shown < cut.duration else cut.load_audio()
    mono = np.asarray(audio, dtype=np.float32).mean(axis=0)
    marks = [mark for mark in find_marks((cut.custom or {}).get("truth", {}), shown) if mark.share <= 1]
    return Clip(encode_audio(mono, cut.sampling_rate), waveform_path(mono), cut.duration, shown, marks)


def encode_audio(samples: NDArray[np.float32], sampling_rate: int) -> str:
    """A data URI: MP3 where libsndfile was built with it (a tenth of the size), else FLAC.

    Args:
        samples: (S,) in -1..1.
        sampling_rate: in Hz.
    """
    kind, mime = ("MP3", "audio/mpeg") if "MP3" in soundfile.available_formats() else ("FLAC", "audio/flac")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1.0, 1.0), sampling_rate, format=kind)
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def waveform_path(samples: NDArray[np.float32], columns: int = _WAVEFORM_COLUMNS) -> str:
    """The outline from the highest to the lowest sample of each column, the loudest reaching the edge.

    Args:
        samples: (S,).
        columns: width of the drawing.

    Returns:
        SVG path data; empty without samples.
    """
    peak = float(np.abs(samples).max(initial=0.0)) or 1.0
    pieces = [piece for piece in np.array_split(samples / peak, columns) if piece.size]
    # A hair of height keeps silence visible as a line.
    tops = [f"{x + 0.5} {1 - float(piece.max()) - 0.01:.2f}" for x, piece in enumerate(pieces)]
    bottoms = [f"{x + 0.5} {1 - float(piece.min()) + 0.01:.2f}" for x, piece in enumerate(pieces)]
    return f"M{'L'.join([*tops, *reversed(bottoms)])}Z" if pieces else ""


def find_marks(truth: Mapping[str, Any], seconds: float) -> list[Mark]:
    """Entries, the change, the chord and sections with their times.

    Args:
        truth: of the cut; what it lacks is not marked.
        seconds: length the marks are placed on; later ones get a share above 1.
    """
    events = [("enters", entry["instrument"], entry["start"]) for entry in truth.get("entries") or ()]
    if truth.get("change_time") is not None:
        events.append(("change", truth["change"], truth["change_time"]))
    if truth.get("chord"):
        events.append(("chord", truth["chord"]["name"], truth["chord"]["start"]))
    sections = zip(truth.get("sections") or (), truth.get("section_starts") or (), strict=False)
    events += [("section", label, start) for label, start in sections]
    return [Mark(lane, str(label), float(start), float(start) / seconds) for lane, label, start in events]
