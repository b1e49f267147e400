"""MATPAC++ at its published size against the numbers that its published code gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from music_flamingo.errors import UserError
from music_flamingo.models.matpac import MatpacConfig, MatpacFeatureExtractor, MatpacModel
from music_flamingo.models.matpac.features import log_mel
from music_flamingo.models.matpac.model import fixed_positions
from music_flamingo.models.matpac.published import renamed
from tests.golden import golden, sound, weight

WIDTH, LAYERS = 768, 12
GOLDEN = golden("matpac")
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def published_shapes() -> dict[str, tuple[int, ...]]:
    """What a published encoder declares, positions aside."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 1, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "student_encoder.norm.weight": (WIDTH,),
        "student_encoder.norm.bias": (WIDTH,),
    }
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for layer in range(LAYERS):
        for name, (rows, columns) in linear.items():
            shapes[f"student_encoder.blocks.{layer}.{name}.weight"] = (rows * WIDTH, columns * WIDTH)
            shapes[f"student_encoder.blocks.{layer}.{name}.bias"] = (rows * WIDTH,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"student_encoder.blocks.{layer}.{name}"] = (WIDTH,)
    return shapes


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return {name: weight(name, shape) for name, shape in published_shapes().items()}


@pytest.fixture(scope="module")
def encoders(published: dict[str, torch.Tensor]) -> dict[int, MatpacModel]:
    """By frames of a window."""
    built = {}
    for frames in (992, 608):
        with torch.device("meta"):
            model = MatpacModel(MatpacConfig(window_frames=frames))
        state = {**renamed(published), "positions": fixed_positions(5, frames // 16, WIDTH)}
        model.load_state_dict(state, assign=True)
        built[frames] = model.eval()
    return built


@torch.no_grad()
def embed(encoder: MatpacModel, seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, 3840) embeddings of a song and (L, T, 3840) of every layer."""
    windows = MatpacFeatureExtractor(window_frames=encoder.config.window_frames)(sound(seconds), 16_000)
    heard = windows["attention_mask"].sum(1).tolist()
    outputs = [
        encoder(window[None, :, :frames], output_hidden_states=True)
        for window, frames in zip(windows["input_features"], heard, strict=True)
    ]
    layers = torch.cat([torch.stack(output.hidden_states, 1)[0] for output in outputs], 1)
    return torch.cat([output.last_hidden_state[0] for output in outputs]), layers


@pytest.mark.parametrize(("seconds", "key", "step"), [(3.7, "a3.7_mel", 1), (10.0, "a10_mel_every4frames", 4)])
def test_mel_frames_are_the_published_ones(seconds: float, key: str, step: int) -> None:
    ours = log_mel(torch.from_numpy(sound(seconds)))
    np.testing.assert_allclose(ours[:, ::step], GOLDEN[key], rtol=0, atol=5e-5)


@pytest.mark.parametrize("frames", [992, 608])
@pytest.mark.parametrize("seconds", [3.7, 10.0, 23.0])
def test_embeddings_are_the_published_ones(encoders: dict[int, MatpacModel], seconds: float, frames: int) -> None:
    embeddings, layers = embed(encoders[frames], seconds)
    key = f"a{seconds:g}_nt{frames}_precise"
    assert tuple(embeddings.shape) == tuple(GOLDEN[f"{key}_shape"])
    np.testing.assert_allclose(embeddings[::2, ::32], GOLDEN[f"{key}_emb_every2tok_every32dim"], rtol=0, atol=3e-5)
    np.testing.assert_allclose(embeddings.mean(0), GOLDEN[f"{key}_timemean"], rtol=0, atol=3e-5)
    np.testing.assert_allclose(
        layers[:, ::8, ::32][..., :24], GOLDEN[f"{key}_layers_every8tok_every32dim"], rtol=0, atol=3e-5
    )
    np.testing.assert_allclose(layers.flatten(1).norm(dim=1), GOLDEN[f"{key}_layers_l2"], rtol=1e-5)


@pytest.mark.parametrize("seconds", [3.7, 10.0, 23.0])
@torch.no_grad()
def test_the_published_fast_mode_attends_to_padding_and_mixes_up_windows(
    encoders: dict[int, MatpacModel], seconds: float
) -> None:
    windows = MatpacFeatureExtractor()(sound(seconds), 16_000)["input_features"]
    whole = encoders[992](windows).last_hidden_state
    mixed_up = whole.transpose(0, 1).flatten(0, 1)  # token j of window c stands at j W + c
    key = f"a{seconds:g}_nt992_fast_emb_every2tok_every32dim"
    np.testing.assert_allclose(mixed_up[::2, ::32], GOLDEN[key], rtol=0, atol=3e-5)


def test_positions_of_a_checkpoint_are_used(encoders: dict[int, MatpacModel]) -> None:
    encoder = encoders[992]
    stored = encoder.positions
    np.testing.assert_allclose(stored[0, [0, 1, 2, 63, 310]], GOLDEN["pos_embed_992_rows0_1_2_63_310"], atol=1e-7)
    encoder.positions = renamed({"pos_embed": weight("pos_embed", (1, 311, WIDTH))})["positions"]
    embeddings, _ = embed(encoder, 3.7)
    encoder.positions = stored
    key = "a3.7_nt992_precise_randpos_emb_every2tok_every32dim"
    np.testing.assert_allclose(embeddings[::2, ::32], GOLDEN[key], rtol=0, atol=3e-5)


def test_the_published_size_has_85_492_992_parameters() -> None:
    with torch.device("meta"):
        model = MatpacModel(MatpacConfig())
    assert sum(p.numel() for p in model.parameters()) + model.positions.numel() == 85_492_992


def test_a_saved_encoder_is_the_same_and_the_auto_classes_find_it(tmp_path: Path) -> None:
    model = MatpacModel(MatpacConfig(**TINY, window_frames=64)).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, MatpacModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), MatpacConfig)
    features = torch.randn(2, 80, 50)
    assert torch.equal(loaded(features).last_hidden_state, model(features).last_hidden_state)


def test_a_window_longer_than_the_positions_is_refused() -> None:
    model = MatpacModel(MatpacConfig(**TINY, window_frames=64))
    with pytest.raises(UserError, match="at most 64 frames, got 65"):
        model(torch.zeros(1, 80, 65))


def test_another_sampling_rate_and_too_little_audio_are_refused() -> None:
    extractor = MatpacFeatureExtractor()
    with pytest.raises(UserError, match="hears 16000 Hz, got 44100 Hz"):
        extractor(sound(1.0), 44_100)
    with pytest.raises(UserError, match="at least 400 samples"):
        extractor(sound(1.0)[:399], 16_000)
    assert extractor(sound(1.0)[:400], 16_000)["attention_mask"].sum() == 1


@pytest.mark.parametrize(
    ("samples", "got"),
    [
        (np.zeros((2, 800), np.float32), r"float32 \(2, 800\)"),
        (np.zeros((800, 2), np.float32), r"float32 \(800, 2\)"),
        (np.zeros(800, np.int16), r"int16 \(800,\)"),
    ],
)
def test_several_channels_and_integers_are_refused(samples: np.ndarray, got: str) -> None:
    with pytest.raises(UserError, match=rf"one channel of floats \(S,\), got {got}: mix the channels"):
        MatpacFeatureExtractor()(samples, 16_000)


def test_a_checkpoint_of_something_else_is_refused_by_its_names() -> None:
    zeros = torch.zeros(1)
    assert renamed({"head.weight": zeros, "log_mel.MelSpectrogram.mel_scale.fb": zeros}) == {}
    with pytest.raises(UserError, match="expected a MATPAC.. checkpoint, got the names bn0.weight: give another"):
        renamed({"bn0.weight": zeros})
