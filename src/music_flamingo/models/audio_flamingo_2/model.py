"""Audio Flamingo 2: AF-CLAP, a transform of its features, and a Qwen2.5 that hears them by cross-attention.

    |mel windows| -> AF-CLAP -> (B, 64 W, D) -> transform -> |audio tokens|
    |token ids| -> Qwen2.5, before each layer a gated cross-attention to the audio tokens -> |logits|

Every token of text hears every audio token of its song. The published trainer's mask leaves it only the first one.

Source: Audio Flamingo 2 (arXiv:2503.03983).
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, ClapAudioModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2.audio_transform import AudioTransform
from music_flamingo.models.audio_flamingo_2.configuration import AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.cross_attention import (
    GatedCrossAttention,
    HearingLayer,
    PaddedAudio,
)
from music_flamingo.models.audio_flamingo_2.window_features import encode_windows, heard_tokens
from music_flamingo.models.heard_audio import HeardAudio


class AudioFlamingo2PreTrainedModel(PreTrainedModel):
    """What transformers asks of both classes below."""

    config: AudioFlamingo2Config
    config_class = AudioFlamingo2Config
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _no_split_modules = ["ClapAudioLayer", "AudioTransformLayer", "HearingLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True


class AudioFlamingo2Model(AudioFlamingo2PreTrainedModel):
    """Without the language-model head."""

    def __init__(self, config: AudioFlamingo2Config) -> None:
        super().__init__(config)
        self.audio_tower = ClapAudioModel(config.audio_config)
        self.audio_transform = AudioTransform(
            config.audio_width, config.transform_layers, config.transform_heads, config.transform_feed_forward
        )
        self.language_model = AutoModel.from_config(config.text_config)
        layers = self.language_model.layers
        for index, layer in enumerate(layers):
            hears = (index + 1) % config.cross_attention_interval == 0
            layers[index] = HearingLayer(layer, self._cross_attention(index) if hears else None)
        self.post_init()

    def _cross_attention(self, layer_idx: int) -> GatedCrossAttention:
        config = self.config
        return GatedCrossAttention(
            layer_idx,
            config.text_config.hidden_size,
            config.audio_width,
            config.cross_attention_heads,
            config.cross_attention_head_dim,
        )

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.language_model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def hear(self, features: Tensor, mask: Tensor) -> PaddedAudio:
        """What the text hears of songs' features (B, A, D), of which (B, A) bool says which are no padding."""
        return PaddedAudio(self.audio_transform(features, mask), mask)

    def get_audio_features(self, input_features: Tensor, input_features_mask: Tensor) -> PaddedAudio:
        """What the text hears of songs.

        Args:
            input_features: (B, W, M, F) mel windows.
            input_features_mask: (B, W, F), true for frames that are no padding.
        """
        windows = encode_windows(self.audio_tower, input_features.flatten(0, 1))
        features = windows.unflatten(0, input_features.shape[:2])
        mask = heard_tokens(input_features_mask.sum(-1), input_features.shape[-1])
        return self.hear(features.flatten(1, 2), mask.flatten(1, 2))

    def heard_in(self, input_features: Tensor | None, input_features_mask: Tensor | None) -> PaddedAudio | None:
        """What `get_audio_features` gives; None where there is neither.

        Raises:
            UserError: one without the other.
        """
        if input_features is not None and input_features_mask is not None:
            return self.get_audio_features(input_features, input_features_mask)
        if input_features is None and input_features_mask is None:
            return None
        given, missing = "input_features", "input_features_mask"
        if input_features is None:
            given, missing = missing, given
        raise UserError(f"expected {missing} beside {given}, got None: give both, as the processor does")

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        audio: HeardAudio | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of texts.

        Args:
            input_ids: (B, N) tokens.
            input_features: (B, W, M, F) mel windows of each text's song.
            input_features_mask: (B, W, F), true for frames that are no padding.
            attention_mask: (B, N).
            audio: what was heard before, in place of `input_features`.
            kwargs: for the language model.

        Raises:
            UserError: mel windows without their mask, or a mask without windows.
        """
        if audio is None:
            audio = self.heard_in(input_features, input_features_mask)
        output = self.language_model(input_ids=input_ids, attention_mask=attention_mask, audio=audio, **kwargs)
        return cast(BaseModelOutputWithPast, output)


class AudioFlamingo2ForConditionalGeneration(AudioFlamingo2PreTrainedModel, GenerationMixin):
    """Audio Flamingo 2, as transformers loads, saves and generates."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: AudioFlamingo2Config) -> None:
        super().__init__(config)
        self.model = AudioFlamingo2Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        audio: HeardAudio | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and a loss where there are labels.

        Args:
            input_ids: as of `AudioFlamingo2Model`, with the next three.
            input_features: ...
            input_features_mask: ...
            attention_mask: ...
            labels: (B, N), -100 where nothing is learned.
            audio: what was heard before, in place of `input_features`.
            logits_to_keep: how many of the last tokens' logits to compute; 0 for all.
            kwargs: for the language model.
        """
        output = self.model(input_ids, input_features, input_features_mask, attention_mask, audio, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.lm_head.out_features)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=output.past_key_values)

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As transformers' `generate`; the songs are heard once.

        Raises:
            UserError: mel windows without their mask, or a mask without windows.
        """
        heard = self.model.heard_in(input_features, input_features_mask)
        if heard is not None:
            kwargs["audio"] = heard
        everything: Any = super()
        return everything.generate(input_ids, **kwargs)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, *args: Any, **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Repeat each text for beams and samples, with its audio: transformers repeats tensors alone."""
        everything: Any = super()
        input_ids, expanded = everything._expand_inputs_for_generation(expand_size, *args, **kwargs)
        if expand_size > 1 and isinstance(expanded.get("audio"), PaddedAudio):
            expanded["audio"] = expanded["audio"].repeated(expand_size)
        return input_ids, expanded
