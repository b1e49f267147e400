"""TinyMU: MATPAC++, a projector, and SmolLM2.

    |log-mel windows| -> MATPAC++ -> projector -> |audio embeddings|
    |token ids| -> embeddings, audio placeholders replaced -> Llama -> |logits|

What a model with audio placeholders does is transformers' `AudioFlamingo3ForConditionalGeneration`; encoder and
projector are other ones.

Source: TinyMU (arXiv:2604.15849).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AudioFlamingo3ForConditionalGeneration, AutoModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Model

from music_flamingo.models.matpac import MatpacModel
from music_flamingo.models.tinymu.configuration import TinyMUConfig


class TinyMUProjector(nn.Module):
    """(A, 3840) encoder outputs -> (A, D) audio embeddings: one layer, or the released two."""

    def __init__(self, config: TinyMUConfig) -> None:
        super().__init__()
        between, out = config.projector_hidden_size, config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.audio_config.embedding_size, between or out)
        self.act = ACT2FN[config.projector_hidden_act] if between else nn.Identity()
        self.linear_2 = nn.Linear(between, out) if between else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return projected


class TinyMUModel(AudioFlamingo3Model):
    """Without the language-model head."""

    config: TinyMUConfig
    config_class = TinyMUConfig
    _no_split_modules = ["ViTLayer", "LlamaDecoderLayer"]

    def __init__(self, config: TinyMUConfig) -> None:
        super(AudioFlamingo3Model, self).__init__(config)  # its own constructor would make an encoder's projector
        self.audio_tower = AutoModel.from_config(config.audio_config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.multi_modal_projector = TinyMUProjector(config)  # type: ignore[assignment]
        self.post_init()

    def get_audio_features(
        self, input_features: Tensor, input_features_mask: Tensor, **_: Any
    ) -> BaseModelOutputWithPooling:
        """Audio embeddings of windows.

        Args:
            input_features: (W, M, F).
            input_features_mask: (W, F), true for frames that are heard.

        Returns:
            `pooler_output` (A, D) embeddings of all windows, one behind the other.
        """
        encoded = encode_windows(self.audio_tower, input_features, input_features_mask.sum(1).tolist())
        return BaseModelOutputWithPooling(pooler_output=self.multi_modal_projector(torch.cat(encoded)))


class TinyMUForConditionalGeneration(AudioFlamingo3ForConditionalGeneration):
    """TinyMU, as transformers loads, saves and generates."""

    config: TinyMUConfig
    config_class = TinyMUConfig
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # type: ignore[assignment]
    _no_split_modules = ["ViTLayer", "LlamaDecoderLayer"]

    def __init__(self, config: TinyMUConfig) -> None:
        super(AudioFlamingo3ForConditionalGeneration, self).__init__(config)
        self.model = TinyMUModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()


def encode_windows(encoder: MatpacModel, features: Tensor, lengths: list[int]) -> list[Tensor]:
    """(T, D) embeddings of each window, T = ceil(length / 16); windows of equal length go through together."""
    outputs: list[Tensor | None] = [None] * len(lengths)
    for length in set(lengths):
        places = [place for place, other in enumerate(lengths) if other == length]
        encoded = encoder(features[places][..., :length]).last_hidden_state
        for place, output in zip(places, encoded, strict=True):
            outputs[place] = output
    return [output for output in outputs if output is not None]
