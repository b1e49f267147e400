"""FLOPs of MATPAC++, forward."""

from collections.abc import Sequence

from music_flamingo.models.layer_cost import encoder_flops
from music_flamingo.models.matpac.configuration import MatpacConfig


def matpac_flops(config: MatpacConfig, windows: Sequence[int]) -> float:
    """Of windows with so many mel frames, each as many patches long as it needs, behind a class token."""
    patches = [config.bands * -(-frames // config.patch_size) for frames in windows]
    patch_embedding = 2 * config.patch_size**2 * config.hidden_size
    return sum(patches) * patch_embedding + encoder_flops(config, [1 + number for number in patches])
