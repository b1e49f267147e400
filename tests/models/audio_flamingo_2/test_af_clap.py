"""AF-CLAP's audio encoder at its published size against the numbers that its published code gives."""

import math

import numpy as np
import pytest
import torch
from transformers import ClapAudioConfig, ClapAudioModel

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE
from music_flamingo.models.audio_flamingo_2.features import log_mel, sixteen_bits
from music_flamingo.models.audio_flamingo_2.published import renamed_clap
from music_flamingo.models.audio_flamingo_2.window_features import encode_windows, heard_tokens
from tests.golden import golden, sound, weight

GOLDEN = golden("afclap")
DEPTHS = (2, 2, 12, 2)
SECONDS = (3.7, 10.0, 23.0)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """What the published encoder declares of what these numbers depend on."""
    shapes: dict[str, tuple[int, ...]] = {
        **{f"bn0.{name}": (64,) for name in ("weight", "bias", "running_mean", "running_var")},
        "patch_embed.proj.weight": (256, 1, 4, 4),
        **{f"patch_embed.{name}": (256,) for name in ("proj.bias", "norm.weight", "norm.bias")},
        **{f"norm.{name}": (2048,) for name in ("weight", "bias")},
    }
    for stage, depth in enumerate(DEPTHS):
        width, heads = 256 * 2**stage, 4 * 2**stage
        if stage < len(DEPTHS) - 1:
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            shapes |= {f"layers.{stage}.downsample.norm.{name}": (4 * width,) for name in ("weight", "bias")}
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}"
            linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
            for name, (rows, columns) in linear.items():
                shapes[f"{prefix}.{name}.weight"] = (rows * width, columns * width)
                shapes[f"{prefix}.{name}.bias"] = (rows * width,)
            for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
                shapes[f"{prefix}.{name}"] = (width,)
            shapes[f"{prefix}.attn.relative_position_bias_table"] = (225, heads)
    return shapes


@pytest.fixture(scope="module")
def encoder() -> ClapAudioModel:
    state = renamed_clap({name: weight(name, shape) for name, shape in published_shapes().items()})
    model = ClapAudioModel(ClapAudioConfig(**HTSAT_LARGE))
    missing, unexpected = model.audio_encoder.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {name.rpartition(".")[2] for name in missing} <= {"relative_position_index", "num_batches_tracked"}
    return model.eval()


@torch.no_grad()
def encoded(encoder: ClapAudioModel, mel: torch.Tensor) -> torch.Tensor:
    """(W, 64, 2048) of (W, M, F), as Audio Flamingo 2 reads them."""
    return encode_windows(encoder, mel)


@pytest.mark.parametrize("seconds", SECONDS)
def test_windows_are_the_published_ones(seconds: float) -> None:
    windows = AFClapFeatureExtractor()(sound(seconds), 16_000)
    mel, key = windows["input_features"].transpose(1, 2), f"a{seconds:g}"
    expected = GOLDEN["a10_mel"] if seconds == 10.0 else GOLDEN[f"{key}_mel_every8frames"]
    np.testing.assert_allclose(mel if seconds == 10.0 else mel[:, ::8], expected, rtol=0, atol=5e-4)
    assert math.ceil(seconds / 10) == len(mel)
    assert windows["attention_mask"].sum() == round(100 * seconds)


def test_samples_are_cut_to_sixteen_bits_at_full_scale() -> None:
    samples = sixteen_bits(sound(10.0))
    np.testing.assert_allclose(samples[:32], GOLDEN["a10_clips_first32"][0], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(sixteen_bits(np.zeros(3, np.float32)), np.zeros(3, np.float32))


@pytest.mark.parametrize("seconds", SECONDS)
def test_features_are_the_published_ones(encoder: ClapAudioModel, seconds: float) -> None:
    features = encoded(encoder, AFClapFeatureExtractor()(sound(seconds), 16_000)["input_features"])
    expected = GOLDEN[f"a{seconds:g}_out_every4tok_every8dim"]
    np.testing.assert_allclose(features[:, ::4, ::8], expected, rtol=0, atol=1e-4)
    rows = GOLDEN[f"a{seconds:g}_out_rowstats_mean_std_l2"][..., 2]
    np.testing.assert_allclose(features.norm(dim=-1), rows, rtol=1e-5)


def test_features_without_rounding_are_the_published_ones(encoder: ClapAudioModel) -> None:
    samples = sound(3.7).astype(np.float64)
    padded = np.zeros((1, 160_000), dtype=np.float32)
    padded[0, : len(samples)] = samples / np.abs(samples).max()
    features = encoded(encoder, log_mel(torch.from_numpy(padded)))
    expected = GOLDEN["a3.7_out_no_quantisation_every4tok_every8dim"]
    np.testing.assert_allclose(features[:, ::4, ::8], expected, rtol=0, atol=1e-4)


def test_in_float64_the_features_are_the_published_ones_to_the_ninth_digit(encoder: ClapAudioModel) -> None:
    features = encoded(encoder.double(), torch.from_numpy(GOLDEN["a10_mel"]).double().transpose(1, 2))
    encoder.float()
    expected = GOLDEN["a10_out_f64_from_f32_mel_every4tok_every8dim"]
    np.testing.assert_allclose(features[:, ::4, ::8], expected, rtol=0, atol=1e-9)


def test_a_token_is_heard_if_it_begins_before_the_window_ends() -> None:
    heard = heard_tokens(torch.tensor([1000, 32, 31, 0]), 1001)  # a token is 31.25 frames
    assert heard.sum(-1).tolist() == [64, 4, 2, 0]
    assert torch.nonzero(heard[1]).flatten().tolist() == [0, 1, 32, 33]


def test_what_af_clap_cannot_hear_is_refused() -> None:
    extractor = AFClapFeatureExtractor(max_windows=2)
    with pytest.raises(UserError, match="hears 16000 Hz, got 8000 Hz"):
        extractor(sound(1.0), 8_000)
    with pytest.raises(UserError, match=r"at most 20 s of audio \(2 windows\), got 23\.0 s"):
        extractor(sound(23.0), 16_000)
    with pytest.raises(UserError, match="got 0 samples"):
        extractor(sound(1.0)[:0], 16_000)


def test_the_encoder_has_the_published_size_but_for_what_it_does_not_use() -> None:
    with torch.device("meta"):
        fused = ClapAudioModel(ClapAudioConfig(**HTSAT_LARGE | {"enable_fusion": True}))
        ours = ClapAudioModel(ClapAudioConfig(**HTSAT_LARGE))
    classifiers = (2048 * 527 * 2 * 3 + 527) + (527 * 527 + 527)
    # 278,770,007 are declared, of which 1,083,456 are fixed filters.
    assert sum(p.numel() for p in fused.parameters()) + classifiers == 278_770_007 - 1_083_456
    assert sum(p.numel() for p in ours.parameters()) == 270_851_992
