"""Self-attention over all windows of a song, between AF-CLAP and the cross-attention.

Source: Audio Flamingo 2 (arXiv:2503.03983), section 3.1, and its published layers: norms behind the residual sums, and
rotary positions on queries and keys.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

NORM_EPS = 1e-6
ROTARY_BASE = 4096.0
FEWEST_ROTARY = 32
"""Dimensions of a head that are rotated at least."""


class AudioTransform(nn.Module):
    """Lets the audio tokens of a song hear one another.

    Args:
        width: of the tokens.
        num_layers: of self-attention.
        num_heads: of each.
        feed_forward: width between the two matrices of a layer's network.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, feed_forward: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.layers = nn.ModuleList(AudioTransformLayer(width, num_heads, feed_forward) for _ in range(num_layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, A, D) tokens of songs, of which (B, A) bool says which are heard -> (B, A, D)."""
        hidden: Tensor = self.norm(tokens * self.width**0.5)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class AudioTransformLayer(nn.Module):
    """One layer: attention, then a network; each is added and normed."""

    def __init__(self, width: int, num_heads: int, feed_forward: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, A, D) -> (B, A, D); keys where `mask` (B, A) is false are not seen."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        heard = scaled_dot_product_attention(rotated(query), rotated(key), value, attn_mask=mask[:, None, None])
        hidden = self.attention_norm(hidden + self.o_proj(heard.transpose(1, 2).flatten(2)))
        normed: Tensor = self.norm(hidden + self.fc2(relu(self.fc1(hidden))))
        return normed


def rotated(heads: Tensor) -> Tensor:
    """(B, H, A, D) queries or keys, turned by their position in the first half of their dimensions, at least in 32."""
    size = min(heads.shape[-1], max(heads.shape[-1] // 2, FEWEST_ROTARY))
    exponents = torch.arange(0, size, 2, device=heads.device, dtype=torch.float32) / size
    angles = torch.arange(heads.shape[2], device=heads.device, dtype=torch.float32)[:, None] / ROTARY_BASE**exponents
    cos, sin = angles.cos(), angles.sin()
    first, second, rest = heads.split([size // 2, size // 2, heads.shape[-1] - size], dim=-1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([turned.to(heads.dtype), rest], dim=-1)
