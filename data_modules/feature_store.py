"""Mel windows of songs, computed once and kept on disk."""

import hashlib
import json
from pathlib import Path

import torch
from lhotse.cut import Cut
from torch import Tensor

from music_flamingo.batch import AudioWindows
from music_flamingo.corpora.song_audio import source_of, waveform_blocks
from music_flamingo.errors import UserError
from music_flamingo.kept_tensors import kept_tensors
from music_flamingo.models.audio_frontend import AudioFrontend


class FeatureStore:
    """Gives the mel windows of a cut.

    Args:
        frontend: computes them.
        folder: where they are kept as float16, below a name that depends on the front end's settings; None keeps
            nothing.
        max_seconds: longest song the model may hear.
        shorten: hear the first `max_seconds` of a longer song, and count it, where False refuses it.

    Attributes:
        shortened: songs that lost their end.
    """

    def __init__(self, frontend: AudioFrontend, folder: Path | None, max_seconds: float, shorten: bool) -> None:
        self.frontend = frontend
        self.max_seconds = max_seconds
        self.shorten = shorten
        self.shortened: set[str] = set()
        self.folder = None if folder is None else folder / _settings_hash(frontend)

    def windows(self, cut: Cut) -> AudioWindows:
        """Mel windows of a cut.

        Raises:
            UserError: the cut is longer than `max_seconds` and may not be shortened, too short for one embedding, or
                cannot be read.
        """
        cut = self._within_limit(cut)
        if self.folder is None:
            return self._compute(cut)
        key = f"{source_of(cut)} {cut.id} {cut.start} {cut.duration}"  # ids may repeat in another corpus of a blend
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"

        def compute() -> dict[str, Tensor]:
            windows = self._compute(cut)
            return {"features": windows.features.half(), "lengths": windows.lengths}

        stored = kept_tensors(path, compute)
        features = stored["features"].float()
        lengths = stored["lengths"]
        return AudioWindows(features, lengths, torch.arange(len(features)), self.frontend.token_lengths(lengths))

    def mel_lengths(self, cut: Cut) -> Tensor:
        """(W,) frames of the windows that a cut has, from its duration alone."""
        seconds = min(cut.duration, self.max_seconds)
        return self.frontend.mel_lengths(round(seconds * self.frontend.sampling_rate))

    def _within_limit(self, cut: Cut) -> Cut:
        if cut.duration <= self.max_seconds:
            return cut
        if not self.shorten:
            raise UserError(
                f"cut {cut.id}: expected at most {self.max_seconds:g} s of audio (data.max_song_seconds), "
                f"got {cut.duration:.1f} s: raise the limit, or set data.shorten_songs: true to hear only the beginning"
            )
        self.shortened.add(cut.id)
        return cut.truncate(duration=self.max_seconds, preserve_id=True)

    def _compute(self, cut: Cut) -> AudioWindows:
        frontend, num_windows = self.frontend, len(self.mel_lengths(cut))
        if not num_windows:
            raise UserError(
                f"cut {cut.id}: expected enough audio for one embedding, got {cut.duration:g} s: remove the cut"
            )
        return frontend.windows_of(waveform_blocks(cut, frontend.sampling_rate, frontend.window_samples), num_windows)


def _settings_hash(frontend: AudioFrontend) -> str:
    return hashlib.sha256(json.dumps(frontend.settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
