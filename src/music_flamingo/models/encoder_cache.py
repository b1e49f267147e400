"""Outputs of a frozen audio encoder, kept on disk: a window is encoded once, whatever the number of epochs and stages.

What is kept depends on nothing but the window's mel frames, padding too, as some encoders hear it, and the encoder's
parameters and buffers, such as a norm's statistics: their hashes name it. Time comes later, as the same window may
stand elsewhere in another song. Each window is encoded by itself: in what company it was first seen, before or after
an interruption, changes no digit.

model: {class_path: music_flamingo.models.MusicFlamingo, init_args: {pretrained: DIR, encoder_cache:
{class_path: music_flamingo.models.EncoderCache, init_args: {folder: DIR}}}}
"""

import hashlib
import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.kept_tensors import kept_tensors


class EncoderCache:
    """Encodes windows, or reads what they once gave.

    Args:
        folder: where outputs are kept; at Music Flamingo's size 230 MB for an hour of audio as bfloat16.
        dtype: as which they are kept, and used the first time too.
    """

    def __init__(self, folder: str, dtype: Literal["bfloat16", "float32"] = "bfloat16") -> None:
        self.folder = Path(folder)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._hashed: tuple[tuple[int, int], ...] = ()
        self._weights_hash = ""

    def encode(
        self, encode: Callable[[AudioWindows], Tensor], encoder: PreTrainedModel, windows: AudioWindows
    ) -> list[Tensor]:
        """(T, D) outputs for the real tokens of each window.

        Args:
            encode: gives (T, D) for one window.
            encoder: whose weights `encode` uses.
            windows: of any songs.

        Raises:
            UserError: the encoder trains.
        """
        if any(p.requires_grad for p in encoder.parameters()):
            raise UserError(
                "model.encoder_cache: expected a frozen audio encoder, got one that trains: "
                "add audio_tower to model.freeze, or leave encoder_cache out"
            )
        folder = self.folder / str(self.dtype).removeprefix("torch.") / self._hash_of(encoder)
        outputs = (self._output(encode, windows[place : place + 1], folder) for place in range(len(windows)))
        return [output.to(windows.features.device, encoder.dtype) for output in outputs]

    @torch.no_grad()
    def _output(self, encode: Callable[[AudioWindows], Tensor], window: AudioWindows, folder: Path) -> Tensor:
        """(T, D) of one window's real tokens."""
        path = folder / f"{_hash(window.features[0])}-{int(window.lengths)}.safetensors"

        def compute() -> dict[str, Tensor]:
            return {"outputs": encode(window).to("cpu", self.dtype).contiguous()}

        return kept_tensors(path, compute)["outputs"]

    def _hash_of(self, encoder: PreTrainedModel) -> str:
        """Of its state and of how it is used; computed again when a parameter or a buffer was written to."""
        now = tuple((each.data_ptr(), each._version) for each in chain(encoder.parameters(), encoder.buffers()))
        if now != self._hashed:
            state = chain(encoder.named_parameters(), encoder.named_buffers())
            weights = [_hash(each.detach()) for _, each in sorted(state)]
            settings = json.dumps(encoder.config.to_dict(), sort_keys=True, default=str)
            self._hashed, self._weights_hash = now, hashlib.sha256("".join([settings, *weights]).encode()).hexdigest()
        device = encoder.device.type
        autocast = f"-{torch.get_autocast_dtype(device)}" if torch.is_autocast_enabled(device) else ""
        return self._weights_hash[:16] + autocast.replace("torch.", "")


def _hash(tensor: Tensor) -> str:
    return hashlib.blake2b(tensor.cpu().flatten().view(torch.uint8).numpy().tobytes(), digest_size=16).hexdigest()
