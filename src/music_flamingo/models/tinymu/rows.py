"""TinyMU on packed rows."""

import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows
from music_flamingo.kernels import PrefixAttention
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.lora import LoRA
from music_flamingo.models.model_directory import load_weights
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.models.tinymu.model import TinyMUForConditionalGeneration, encode_windows
from music_flamingo.step_parts import part


class TinyMU(MusicLanguageModel):
    """A TinyMU that reads packed rows.

    Args:
        pretrained: Hugging Face directory of the weights to start from.
        encoder_cache: keeps what the frozen encoder gives; None encodes each time.
        recompute_above: tokens of a row above which the language model's feed-forward networks are computed again in
            the backward pass; None never does.
        recompute_layers_above: tokens of a row above which all of its layers is; None never does.
        attention: over packed rows; None takes the fastest on the device.
        lora: adapters that train in place of the language model; None trains the language model itself.

    Raises:
        UserError: `pretrained` is not a directory holding a TinyMU with its processor.
    """

    def __init__(
        self,
        pretrained: str,
        encoder_cache: EncoderCache | None = None,
        recompute_above: int | None = None,
        recompute_layers_above: int | None = None,
        attention: PrefixAttention | None = None,
        lora: LoRA | None = None,
    ) -> None:
        network = load_weights(TinyMUForConditionalGeneration, pretrained)
        super().__init__(network, recompute_above, recompute_layers_above, attention, lora)
        self.encoder_cache = encoder_cache

    def audio_features(self, windows: AudioWindows) -> Tensor:
        """(A, D) MATPAC++ embeddings of all windows, one behind the other."""
        with part("audio encoder"):
            encoded = self._encode(windows)
        self.windows_encoded += len(windows)
        return torch.cat(encoded)

    def _encode(self, windows: AudioWindows) -> list[Tensor]:
        """(T, D) outputs of the encoder for each window."""
        encoder = self.network.model.audio_tower

        def encode(some: AudioWindows) -> list[Tensor]:
            return encode_windows(encoder, some.features, some.lengths.tolist())

        if self.encoder_cache is None:
            return encode(windows)
        return self.encoder_cache.encode(lambda window: encode(window)[0], encoder, windows)
