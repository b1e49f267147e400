"""Music Flamingo on packed rows: transformers' own class and weights, our attention over the prefix tree.

    |mel windows| -> encoder -> rotary time embedding -> projector -> |audio embeddings|
    |token ids| -> embeddings, audio placeholders replaced -> language model -> |hidden states|

Source: Music Flamingo (arXiv:2511.10289), section 3; transformers 5.23, `MusicFlamingoForConditionalGeneration`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AudioFlamingo3Encoder, MusicFlamingoForConditionalGeneration

from music_flamingo.batch import AudioWindows
from music_flamingo.kernels import PrefixAttention
from music_flamingo.models.audio_encoder import encode_windows
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.lora import LoRA
from music_flamingo.models.model_directory import load_weights
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.models.time_embedding import TimeEmbedding, record_time_embedding, recorded_time_embedding
from music_flamingo.step_parts import part


class MusicFlamingo(MusicLanguageModel):
    """A Music Flamingo that reads packed rows.

    Args:
        pretrained: Hugging Face directory of the weights to start from.
        time_embedding: how the time at which a frame is heard is rotated in; None for the one the
            weights were trained with, which is `CheckpointRoTE` unless their configuration says otherwise.
        encoder_cache: keeps what a frozen encoder gives; None encodes each time.
        recompute_above: tokens of a row above which the language model's feed-forward networks are computed again in
            the backward pass, which saves memory; None never does.
        recompute_layers_above: tokens of a row above which all of its layers is, and above as many tokens of audio the
            encoder's layers; None never does.
        attention: over packed rows; None takes the fastest on the device.
        lora: adapters that train in place of the language model; None trains the language model itself.

    Raises:
        UserError: `pretrained` is not a directory holding a Music Flamingo.
    """

    def __init__(
        self,
        pretrained: str,
        time_embedding: TimeEmbedding | None = None,
        encoder_cache: EncoderCache | None = None,
        recompute_above: int | None = None,
        recompute_layers_above: int | None = None,
        attention: PrefixAttention | None = None,
        lora: LoRA | None = None,
    ) -> None:
        network = load_weights(MusicFlamingoForConditionalGeneration, pretrained)
        super().__init__(network, recompute_above, recompute_layers_above, attention, lora)
        self.recompute_layers_above = math.inf if recompute_layers_above is None else recompute_layers_above
        self.encoder_cache = encoder_cache
        self.time_embedding = time_embedding or recorded_time_embedding(network.config)
        record_time_embedding(self.time_embedding, network.config)
        # Whisper's sinusoids; transformers freezes them in the constructor and loads them as trainable.
        network.model.audio_tower.embed_positions.requires_grad_(False)

    def audio_features(self, windows: AudioWindows) -> Tensor:
        """(A, D) encoder outputs of the windows' real frames with time embedding, before the projector."""
        body = self.network.model
        with part("audio encoder"):
            hidden = self._encode(windows)
        with part("time embedding"):
            hidden = self.time_embedding.embed(hidden, windows.indices, body)
        real = torch.arange(hidden.shape[1], device=hidden.device) < windows.tokens[:, None]
        self.windows_encoded += len(windows)
        return hidden[real]

    def _encode(self, windows: AudioWindows) -> Tensor:
        """(W, A', D) encoder outputs, A' as for a full window."""
        encoder: AudioFlamingo3Encoder = self.network.model.audio_tower
        if self.encoder_cache is None:
            recompute = int(windows.tokens.sum()) > self.recompute_layers_above
            return encode_windows(encoder, windows, recompute=recompute)
        full = int(encoder.max_source_positions) // 2
        outputs = self.encoder_cache.encode(
            lambda window: encode_windows(encoder, window)[0, : int(window.tokens)], encoder, windows
        )
        return torch.stack([pad(output, (0, 0, 0, full - len(output))) for output in outputs])
