"""AF-CLAP on packed rows: a unit vector for each song, and for each text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2.af_clap import AFClapModel
from music_flamingo.models.audio_flamingo_2.af_clap_processor import AFClapProcessor
from music_flamingo.models.audio_flamingo_2.window_features import kept_windows
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.model_directory import load_weights
from music_flamingo.step_parts import part


class AFClap(nn.Module):
    """An AF-CLAP that hears the songs of packed rows.

    Args:
        pretrained: Hugging Face directory of the weights to start from.
        encoder_cache: keeps what the frozen encoder gives; None encodes each time.

    Attributes:
        started_from: directories whose weights the network has at first.
        windows_encoded: audio windows encoded so far.
        windows_with_gradient: windows whose embeddings had a gradient.

    Raises:
        UserError: `pretrained` is not a directory holding an AF-CLAP with its processor.
    """

    def __init__(self, pretrained: str, encoder_cache: EncoderCache | None = None) -> None:
        super().__init__()
        self.encoder_cache = encoder_cache
        self.network = load_af_clap(pretrained)
        self.started_from = (pretrained,)
        self.tokenizer: Any = AFClapProcessor.from_pretrained(pretrained, local_files_only=True).tokenizer
        if self.tokenizer.pad_token is None:
            raise UserError(f"{pretrained}/tokenizer_config.json: expected a pad_token, got none: add one")
        self.windows_encoded = 0
        self.windows_with_gradient = 0

    @property
    def temperature(self) -> Tensor:
        return self.network.temperature

    def embed_songs(self, batch: PackedBatch) -> Tensor:
        """(songs, D) unit vectors of a row's songs.

        A song of several windows is the mean of its windows' vectors, each weighing as much as it holds of the song,
        brought to length 1. What comes first in such a song and what last is lost in the mean: contrastive training
        is for clips of a window.

        Raises:
            UserError: a root without audio.
        """
        if batch.audio is None or not all(batch.window_counts):
            raise UserError(
                "contrastive training needs audio, but a row holds a text without: every cut of the corpus must have a "
                "recording"
            )
        with part("audio encoder"):
            features = kept_windows(self.network.audio_tower, batch.audio, self.encoder_cache)
        windows = self.network.embed_features(features)
        self.windows_encoded += len(windows)
        self.windows_with_gradient += len(windows) * windows.requires_grad
        if len(windows) == len(batch.window_counts):
            return windows
        songs = torch.arange(len(batch.window_counts), device=windows.device)
        song_of_window = songs.repeat_interleave(torch.tensor(batch.window_counts, device=windows.device))
        weighted = windows * batch.audio.lengths[:, None].to(windows.dtype)
        return normalize(windows.new_zeros(len(songs), windows.shape[1]).index_add(0, song_of_window, weighted), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(texts, D) unit vectors of one text at least."""
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt").to(self.network.device)
        with part("text encoder"):
            return self.network.embed_text(tokens["input_ids"], tokens["attention_mask"])


def load_af_clap(directory: str) -> AFClapModel:
    """The AF-CLAP of a Hugging Face directory.

    Raises:
        UserError: there is none.
    """
    return load_weights(AFClapModel, directory)
