"""Sizes of MATPAC++."""

from transformers import ViTConfig


class MatpacConfig(ViTConfig):
    """A ViT over the patches of a log-mel window; the defaults are the published ViT-B's, with 992-frame positions.

    Attributes:
        num_mel_bins: height of a window; `num_mel_bins / patch_size` patches stand above one another.
        window_frames: mel frames of the longest window, a multiple of `patch_size`: 992, or 608 for checkpoints
            trained on 6 s.
    """

    model_type = "matpac"

    layer_norm_eps: float = 1e-6
    num_channels: int = 1
    patch_size: int = 16
    num_mel_bins: int = 80
    window_frames: int = 992

    @property
    def bands(self) -> int:
        """Patches that stand above one another."""
        return self.num_mel_bins // self.patch_size

    @property
    def embedding_size(self) -> int:
        """Width of an embedding: the bands of a step in time side by side."""
        return self.bands * self.hidden_size
