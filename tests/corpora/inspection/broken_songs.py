"""Songs with one thing wrong each, as files a few hundred milliseconds long, in corpora of them."""

import gzip
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16_000
SECONDS = 0.5


def music(seconds: float = SECONDS, seed: int = 0, rate: int = RATE, channels: int = 1) -> npt.NDArray[np.float64]:
    """(F, C) samples of a chord with noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate))[:, None] / rate
    tones = sum(0.1 * np.sin(2 * np.pi * (pitch * t + rng.random(channels))) for pitch in rng.uniform(200, 900, 3))
    return np.asarray(tones + 0.01 * rng.standard_normal((len(t), channels)))


def conversation(cut: str, name: str = "tempo", **fields: Any) -> dict[str, Any]:
    whole = {"id": f"{cut}-{name}", "task": "qa", "question_name": name, "form": "open"}
    return {**whole, "question": f"What is the {name}?", "answer": f"fast {name}", **fields}


def cut_line(cut: str, source: str, num_samples: int = round(SECONDS * RATE), **fields: Any) -> dict[str, Any]:
    """A cut as its manifest holds it; `fields` replace those of the cut or of its recording."""
    rate, channels = fields.pop("sampling_rate", RATE), list(range(fields.pop("num_channels", 1)))
    duration = num_samples / rate
    sources = [{"type": fields.pop("source_type", "file"), "channels": channels, "source": source}]
    recording = {"id": cut, "sources": sources, "sampling_rate": rate, "num_samples": num_samples}
    kind = {"type": "MonoCut", "channel": 0} if channels == [0] else {"type": "MultiCut", "channel": channels}
    whole = {"id": cut, "start": 0, "duration": duration, **kind, "supervisions": []}
    custom = {"conversations": fields.pop("conversations", [conversation(cut)]), **fields.pop("custom", {})}
    return {**whole, "recording": {**recording, "duration": duration}, "custom": custom, **fields}


def write_manifest(corpus: Path, split: str, lines: Sequence[Mapping[str, Any] | str]) -> None:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (corpus / f"cuts_{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def write_clean_corpus(corpus: Path, train: int = 3, held_out: int = 1) -> Path:
    """A corpus of different songs in which nothing is wrong, in three file formats."""
    (corpus / "audio").mkdir(parents=True, exist_ok=True)
    seed = 0
    for split, count in (("train", train), ("val", held_out), ("test", held_out)):
        lines = []
        for number in range(count):
            seed += 1
            source = f"audio/{split}-{number}.{('flac', 'wav', 'ogg')[seed % 3]}"
            soundfile.write(corpus / source, music(seed=seed), RATE)
            lines.append(cut_line(f"{split}-{number}", source))
        write_manifest(corpus, split, lines)
    return corpus


def _write(samples: npt.NDArray[np.float64], rate: int = RATE, subtype: str = "PCM_16") -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, samples, rate, subtype=subtype)


def _with_value(value: float) -> npt.NDArray[np.float64]:
    samples = music()
    samples[100:103] = value
    return samples


def _bytes_of(samples: npt.NDArray[np.float64], path: Path) -> bytes:
    soundfile.write(path, samples, RATE)
    return path.read_bytes()


def _half_truncated(path: Path) -> None:
    whole = _bytes_of(music(), path)
    path.write_bytes(whole[: len(whole) // 2])


def _header_only(path: Path) -> None:
    """A flac file up to its first frame, which begins with the bits of its sync code."""
    whole = _bytes_of(music(), path)
    path.write_bytes(whole[: whole.index(b"\xff\xf8")])


def _data_size_that_lies(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole = bytearray(_bytes_of(music(), path))
        place = whole.index(b"data") + 4
        whole[place : place + 4] = struct.pack("<I", size)
        path.write_bytes(bytes(whole))

    return write


def _nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


_LOUD = np.clip(20 * music(), -1, 1)
_SPARSE = np.concatenate([music(0.05), np.zeros((round(1.95 * RATE), 1))])
_OPPOSITE = music() * [1, -1]
_FRAMES = round(SECONDS * RATE)

BROKEN_SONGS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    # name of the test: kind that is found, how the file is written, what its manifest says
    "no file": ("missing", _nothing, {}),
    "text": ("unreadable", lambda path: path.write_text("no audio at all\n" * 20) and None, {}),
    "0 bytes": ("empty", lambda path: path.write_bytes(b"") and None, {}),
    "wav without samples": ("empty", _write(np.zeros((0, 1))), {}),
    "half a wav": ("truncated", _half_truncated, {}),
    "shorter than its manifest": ("truncated", _write(music(0.4)), {}),
    "longer than its manifest": ("wrong_manifest", _write(music(0.7)), {}),
    "another rate than its manifest": ("wrong_manifest", _write(music(rate=22_050), 22_050), {}),
    "more channels than its manifest": ("wrong_manifest", _write(music(channels=2)), {}),
    "size field too large": ("wrong_header", _data_size_that_lies(1_000_000), {}),
    "size field too small": ("wrong_header", _data_size_that_lies(8_000), {"num_samples": 4_000}),
    "NaN": ("non_finite", _write(_with_value(np.nan), subtype="FLOAT"), {}),
    "infinity": ("non_finite", _write(_with_value(np.inf), subtype="FLOAT"), {}),
    "zeros": ("silent", _write(np.zeros((_FRAMES, 1))), {}),
    "a song that ends at once": ("mostly_silent", _write(_SPARSE), {"num_samples": len(_SPARSE)}),
    "an offset": ("dc_offset", _write(music() + 0.3), {}),
    "too loud": ("clipped", _write(_LOUD), {}),
    "opposite channels": ("cancels_in_mono", _write(_OPPOSITE), {"num_channels": 2}),
    "1 sample": ("too_short", _write(music()[:1]), {"num_samples": 1}),
    "96 kHz and 8 channels": (
        "unusual_format",
        _write(music(0.2, rate=96_000, channels=8), 96_000),
        {"num_samples": 19_200, "sampling_rate": 96_000, "num_channels": 8},
    ),
}
BROKEN_FLAC: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "flac of a header alone": ("empty", _header_only, {}),
    "half a flac": ("unreadable", _half_truncated, {}),
}
