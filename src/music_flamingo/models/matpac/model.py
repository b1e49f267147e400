"""MATPAC++: a ViT over log-mel patches, 3840-wide embeddings at 6.25 per second.

Source: TinyMU (arXiv:2604.15849), whose audio encoder it is; layers are those of transformers 5.23, `ViTLayer`.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.vit.modeling_vit import ViTLayer

from music_flamingo.errors import UserError
from music_flamingo.models.matpac.configuration import MatpacConfig


class MatpacModel(PreTrainedModel):
    """Encodes windows of log-mel frames, each by itself."""

    config: MatpacConfig
    config_class = MatpacConfig
    base_model_prefix = "matpac"
    main_input_name = "input_features"
    _no_split_modules = ["ViTLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MatpacConfig) -> None:
        super().__init__(config)
        size, width = config.patch_size, config.hidden_size
        self.patch_embedding = nn.Conv2d(1, width, size, size)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        num_positions = 1 + config.bands * (config.window_frames // size)
        self.positions = nn.Buffer(torch.empty(1, num_positions, width))  # a checkpoint's own, and never trained
        self.layers = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, input_features: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        """Embeddings of windows of equal length.

        Args:
            input_features: (W, M, F) normalised log-mel frames; to a multiple of the patch size zeros are added.
            output_hidden_states: also give every layer's embeddings, the last one's after the final norm.

        Returns:
            `last_hidden_state` (W, T, D) with T = ceil(F / 16) and D the bands' widths side by side, and where asked
            `hidden_states`, one (W, T, D) for each layer.

        Raises:
            UserError: more frames than there are positions.
        """
        config = self.config
        if input_features.shape[-1] > config.window_frames:
            raise UserError(
                f"expected windows of at most {config.window_frames} frames, got {input_features.shape[-1]}: "
                "cut the song with MatpacFeatureExtractor"
            )
        padding = -input_features.shape[-1] % config.patch_size
        patches = self.patch_embedding(nn.functional.pad(input_features, (0, padding))[:, None])  # (W, D, bands, T)
        steps = patches.shape[-1]
        grid = self.positions[:, 1:].unflatten(1, (config.bands, -1))[:, :, :steps]
        tokens = (patches.permute(0, 2, 3, 1) + grid).flatten(1, 2)
        first = (self.class_token + self.positions[:, :1]).expand(len(tokens), -1, -1)
        hidden = torch.cat([first, tokens], dim=1)
        outputs = []
        for number, layer in enumerate(self.layers, 1):
            hidden = layer(hidden)
            is_last = number == len(self.layers)
            if is_last:
                hidden = self.norm(hidden)
            if output_hidden_states or is_last:
                outputs.append(self._by_time(hidden, steps))
        return BaseModelOutput(outputs[-1], tuple(outputs) if output_hidden_states else None)

    def _by_time(self, hidden: Tensor, steps: int) -> Tensor:
        """(W, T, D) of (W, 1 + bands T, D') tokens, which stand band by band behind the class token."""
        by_band: Tensor = hidden[:, 1:].unflatten(1, (self.config.bands, steps))
        return by_band.transpose(1, 2).flatten(2)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MatpacModel):
            nn.init.trunc_normal_(module.class_token, std=self.config.initializer_range)
            bands, steps = self.config.bands, self.config.window_frames // self.config.patch_size
            module.positions.copy_(fixed_positions(bands, steps, self.config.hidden_size))


def fixed_positions(bands: int, steps: int, width: int) -> Tensor:
    """(1, 1 + bands steps, width) float32: zeros for the class token, then sines and cosines of time and of band.

    A quarter of the width each, at frequencies 10000 ** (-k / quarter).
    """
    quarter = width // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    time = torch.arange(steps, dtype=torch.float64)[:, None] * frequencies
    band = torch.arange(bands, dtype=torch.float64)[:, None] * frequencies
    by_time = torch.cat([time.sin(), time.cos()], dim=1).expand(bands, -1, -1)
    by_band = torch.cat([band.sin(), band.cos()], dim=1)[:, None].expand(-1, steps, -1)
    grid = torch.cat([by_time, by_band], dim=2).flatten(0, 1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), grid])[None].float()
