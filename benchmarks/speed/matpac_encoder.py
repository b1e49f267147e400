"""MATPAC++ at its published size, against the same architecture written straightforwardly in plain torch.

Both embed the log-mel frames of a song in windows of 992 frames, with the same random weights, and must agree.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from music_flamingo.models.matpac import MatpacConfig, MatpacFeatureExtractor, MatpacModel
from music_flamingo.models.matpac.features import log_mel
from music_flamingo.models.tinymu.model import encode_windows

SECONDS, SAMPLING_RATE = (10, 60), 16_000
MUST, MOST_DIFFERENCE = 0.9, 1e-4
WIDTH, DEPTH, HEADS, BANDS, PATCH, WINDOW, EPS = 768, 12, 12, 5, 16, 992, 1e-6


def claims() -> Iterator[Claim]:
    """Time both ways, whose embeddings must agree."""
    torch.manual_seed(0)
    model = MatpacModel(MatpacConfig()).eval()
    plain = PlainMatpac(model).eval()
    extractor = MatpacFeatureExtractor()
    for seconds in SECONDS:
        waveform = torch.randn(seconds * SAMPLING_RATE)
        windows, mel = extractor(waveform, SAMPLING_RATE), log_mel(waveform)
        lengths = windows["attention_mask"].sum(1).tolist()
        took = paired_seconds(
            lambda m=mel: plain(m),
            lambda w=windows["input_features"], n=lengths: embedded(model, w, n),
            require_same=_require_same,
        )
        setting = f"85M parameters, {seconds} s, {len(lengths)} windows"
        yield Claim("MATPAC++", setting, "the same in plain torch", *took, MUST)


@torch.no_grad()
def embedded(model: MatpacModel, windows: Tensor, lengths: list[int]) -> Tensor:
    """(A, 3840) of windows (W, M, F), as TinyMU hears them."""
    return torch.cat(encode_windows(model, windows, lengths))


def _require_same(baseline: Tensor, ours: Tensor) -> None:
    difference = float((baseline - ours).abs().max())
    if baseline.shape != ours.shape or difference > MOST_DIFFERENCE:
        raise RuntimeError(f"the two give {baseline.shape} and {ours.shape}, which differ by {difference:.1e}")


class PlainMatpac(nn.Module):
    """Patches by a convolution, blocks of a ViT with one product for query, key and value, one window at a time.

    Args:
        model: whose weights to take.
    """

    def __init__(self, model: MatpacModel) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.patches.load_state_dict(model.patch_embedding.state_dict())
        self.class_token, self.positions = model.class_token, model.positions
        self.blocks = nn.ModuleList(Block(layer) for layer in model.layers)
        self.norm = nn.LayerNorm(WIDTH, eps=EPS)
        self.norm.load_state_dict(model.norm.state_dict())

    @torch.no_grad()
    def forward(self, mel: Tensor) -> Tensor:
        """(80, F) -> (A, 3840)."""
        padded = pad(mel, (0, -mel.shape[1] % PATCH))
        return torch.cat([self._window(window) for window in padded.split(WINDOW, dim=1)])

    def _window(self, mel: Tensor) -> Tensor:
        patches = self.patches(mel[None, None])  # (1, D, bands, T)
        steps = patches.shape[-1]
        grid = self.positions[:, 1:].view(1, BANDS, -1, WIDTH)[:, :, :steps].flatten(1, 2)
        tokens = patches.flatten(2).transpose(1, 2) + grid
        hidden = torch.cat([self.class_token + self.positions[:, :1], tokens], dim=1)
        for block in self.blocks:
            hidden = block(hidden)
        by_band = self.norm(hidden)[0, 1:].view(BANDS, steps, WIDTH)
        return by_band.transpose(0, 1).reshape(steps, BANDS * WIDTH)


class Block(nn.Module):
    """Attention and a network, each behind a norm and added.

    Args:
        layer: of transformers' ViT, whose weights to take.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        ours = layer.state_dict()
        width, inner = ours["mlp.fc1.weight"].T.shape
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        taken = {
            "norm1": ["layernorm_before"],
            "qkv": [f"attention.{part}_proj" for part in "qkv"],
            "out": ["attention.o_proj"],
            "norm2": ["layernorm_after"],
            "fc1": ["mlp.fc1"],
            "fc2": ["mlp.fc2"],
        }
        self.load_state_dict(
            {
                f"{name}.{kind}": _stacked(ours, parts, kind)
                for name, parts in taken.items()
                for kind in ("weight", "bias")
            }
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, width = hidden.shape
        qkv = self.qkv(self.norm1(hidden)).view(batch, tokens, 3, HEADS, width // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        heard = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, width)
        hidden = hidden + self.out(heard)
        result: Tensor = hidden + self.fc2(gelu(self.fc1(self.norm2(hidden))))
        return result


def _stacked(state: dict[str, Tensor], modules: Sequence[str], kind: str) -> Tensor:
    return torch.cat([state[f"{module}.{kind}"] for module in modules])
