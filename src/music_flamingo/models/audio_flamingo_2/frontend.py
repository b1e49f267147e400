"""From a waveform that comes in blocks to AF-CLAP's windows."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_frontend import AudioFrontend


class AFClapFrontend(AudioFrontend):
    """Windows of a song, whose loudest sample says how loud all others are: the whole song is held to find it.

    One placeholder in the text stands for all windows of a song, as Audio Flamingo 2 hears it by cross-attention.

    Args:
        feature_extractor: tells their size.
    """

    def __init__(self, feature_extractor: AFClapFeatureExtractor) -> None:
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.window_samples = feature_extractor.n_samples

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: dict[str, Any] = self.feature_extractor.to_dict()
        return settings

    def windows_of(self, blocks: Iterable[npt.NDArray[np.float32]], most: int) -> AudioWindows:
        heard = list(blocks)
        if not heard:
            raise UserError("expected audio, got 0 samples: remove the file")
        windows = self.feature_extractor(np.concatenate(heard), self.sampling_rate)
        lengths = windows["attention_mask"].sum(-1)
        indices = torch.arange(len(lengths))
        return AudioWindows(windows["input_features"], lengths, indices, self.token_lengths(lengths))

    def mel_lengths(self, num_samples: int) -> Tensor:
        return self.feature_extractor.mel_lengths(num_samples)

    def token_lengths(self, mel_lengths: Tensor) -> Tensor:
        return torch.eye(1, len(mel_lengths), dtype=torch.int64)[0]
