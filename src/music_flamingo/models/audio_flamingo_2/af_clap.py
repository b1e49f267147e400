"""AF-CLAP: one space for clips and captions, in which a clip lies near what is true of it.

    |mel windows| -> HTSAT-large -> mean over the window -> projection -> |unit vector|
    |token ids| -> Flan-T5's encoder -> mean over the tokens -> projection -> |unit vector|

Trained, the audio tower is Audio Flamingo 2's: its weights have the same names and sizes there. The paper gives
neither Flan-T5's size nor the shared width; the defaults are Flan-T5-base and CLAP's 512.

Source: Audio Flamingo 2 (arXiv:2503.03983) section 3.1; CLAP (arXiv:2211.06687) for projections and temperature.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import ClapAudioConfig, ClapAudioModel, PreTrainedConfig, PreTrainedModel, T5Config, T5EncoderModel
from transformers.configuration_utils import SubConfigSpec

from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE
from music_flamingo.models.audio_flamingo_2.window_features import encode_windows

FLAN_T5_BASE = {
    "vocab_size": 32_128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 12,
    "num_heads": 12,
    "feed_forward_proj": "gated-gelu",
}
LOWEST_TEMPERATURE = 0.01


class AFClapConfig(PreTrainedConfig):
    """Sizes of AF-CLAP.

    Attributes:
        audio_config: of HTSAT.
        text_config: of Flan-T5, of which the encoder is used.
        projection_dim: width of the shared space.
        temperature: at the start of training.
    """

    model_type = "af_clap"
    sub_configs_defaults = {
        "audio_config": SubConfigSpec(config_class=ClapAudioConfig, init_kwargs=HTSAT_LARGE),
        "text_config": SubConfigSpec(config_class=T5Config, init_kwargs=FLAN_T5_BASE),
    }

    audio_config: Any = None
    text_config: Any = None
    projection_dim: int = 512
    temperature: float = 0.07


class AFClapModel(PreTrainedModel):
    """AF-CLAP's two towers, as transformers loads and saves them."""

    config: AFClapConfig
    config_class = AFClapConfig
    base_model_prefix = "af_clap"
    main_input_name = "input_features"
    _no_split_modules = ["ClapAudioLayer", "T5Block"]

    def __init__(self, config: AFClapConfig) -> None:
        super().__init__(config)
        self.audio_tower = ClapAudioModel(config.audio_config)
        self.text_tower = T5EncoderModel(config.text_config)
        self.audio_projection = _projection(config.audio_config.hidden_size, config.projection_dim)
        self.text_projection = _projection(config.text_config.hidden_size, config.projection_dim)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.post_init()

    @property
    def temperature(self) -> Tensor:
        """What the loss divides similarities by: a scalar with a gradient."""
        return self.log_scale.neg().exp()

    @torch.no_grad()
    def limit_temperature(self) -> None:
        """Keep the temperature from falling below 0.01: to be called after each step of the optimizer."""
        self.log_scale.clamp_(max=-math.log(LOWEST_TEMPERATURE))

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.text_tower.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_tower.set_input_embeddings(value)

    def embed_audio(self, input_features: Tensor) -> Tensor:
        """(B, D) unit vectors of mel windows (B, M, F), as `AFClapFeatureExtractor` makes them."""
        return self.embed_features(encode_windows(self.audio_tower, input_features))

    def embed_features(self, features: Tensor) -> Tensor:
        """(B, D) unit vectors of windows' dense features (B, A, D')."""
        return _unit(self.audio_projection(features.mean(1)))

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, D) unit vectors of captions.

        Args:
            input_ids: (B, N) tokens, padded on either side.
            attention_mask: (B, N), 1 where a token is no padding; one at least in each caption.
        """
        states = self.text_tower(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        is_token = attention_mask[..., None].to(states.dtype)
        mean = (states * is_token).sum(1) / is_token.sum(1)
        return _unit(self.text_projection(mean))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            nn.init.constant_(self.log_scale, -math.log(self.config.temperature))


def _unit(vectors: Tensor) -> Tensor:
    """Brought to length 1, which bfloat16 would miss by up to 0.4 %: as much as tells captions apart."""
    return normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


def _projection(width: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, projection_dim), nn.ReLU(), nn.Linear(projection_dim, projection_dim))
