"""AF-CLAP's two towers at a tiny size. Its audio encoder's own numbers are in test_af_clap.py."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, ClapAudioModel, T5EncoderModel

from music_flamingo.losses import compositional_contrastive_loss
from music_flamingo.models.audio_flamingo_2 import (
    AFClapConfig,
    AFClapFeatureExtractor,
    AFClapModel,
    AudioFlamingo2Config,
    AudioFlamingo2ForConditionalGeneration,
)

AUDIO = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 64,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 1, 1],
    "spec_size": 256,
}
TEXT = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
IDS = torch.tensor([[5, 6, 7, 8, 9, 1], [5, 7, 6, 8, 11, 1], [30, 31, 32, 33, 34, 1]])


def tiny(seed: int = 0) -> AFClapModel:
    torch.manual_seed(seed)
    config = AFClapConfig(
        audio_config=AUDIO, text_config={**TEXT, "feed_forward_proj": "gated-gelu"}, projection_dim=12
    )
    return AFClapModel(config).eval()


def windows(count: int = 2) -> Tensor:
    return torch.randn(count, 64, 1001, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_embeddings_are_unit_vectors_of_the_shared_width() -> None:
    model = tiny()
    for vectors, count in ((model.embed_audio(windows()), 2), (model.embed_text(IDS, torch.ones_like(IDS)), 3)):
        assert vectors.shape == (count, 12)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(count))


@torch.no_grad()
def test_embeddings_are_projected_means_of_what_the_towers_hold() -> None:
    model = tiny()
    projected = model.text_projection(model.text_tower(IDS[:1]).last_hidden_state[0].mean(0))
    torch.testing.assert_close(model.embed_text(IDS[:1], torch.ones(1, 6))[0], projected / projected.norm())
    # (1, 64, 2, 32): width, bands, steps
    heard = model.audio_tower(windows(1).transpose(1, 2)[:, None]).last_hidden_state
    projected = model.audio_projection(heard.flatten(2).mean(-1))[0]
    torch.testing.assert_close(model.embed_audio(windows(1))[0], projected / projected.norm())


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_of_text_changes_nothing(side: str) -> None:
    model, pad = tiny(), torch.zeros(3, 4, dtype=torch.long)
    parts = (pad, IDS) if side == "left" else (IDS, pad)
    is_token = [torch.full_like(part, part is IDS) for part in parts]
    padded = model.embed_text(torch.cat(parts, 1), torch.cat(is_token, 1))
    torch.testing.assert_close(padded, model.embed_text(IDS, torch.ones_like(IDS)), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_order_of_words_tells() -> None:
    both = torch.cat([IDS[:1], IDS[:1, [0, 2, 1, 3, 4, 5]]])
    vectors = tiny().embed_text(both, torch.ones_like(both))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-4


@torch.no_grad()
def test_a_saved_model_is_the_same_to_the_bit_and_the_auto_classes_find_it(tmp_path: Path) -> None:
    model = tiny()
    model.log_scale.fill_(1.25)
    model.save_pretrained(tmp_path)
    AFClapFeatureExtractor().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, AFClapModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), AFClapConfig)
    assert isinstance(AutoFeatureExtractor.from_pretrained(tmp_path), AFClapFeatureExtractor)
    saved = model.state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())
    assert torch.equal(loaded.embed_audio(windows()), model.embed_audio(windows()))
    assert torch.equal(loaded.embed_text(IDS, torch.ones_like(IDS)), model.embed_text(IDS, torch.ones_like(IDS)))


def test_the_embedding_of_words_stays_tied_after_loading(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    text_tower = AutoModel.from_pretrained(tmp_path).text_tower
    assert text_tower.encoder.embed_tokens.weight is text_tower.shared.weight


def test_the_temperature_starts_as_configured_and_is_kept_from_falling_below_a_hundredth() -> None:
    model = tiny()
    assert model.temperature.item() == pytest.approx(0.07)
    model.limit_temperature()
    assert model.temperature.item() == pytest.approx(0.07)
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    model.limit_temperature()
    assert model.temperature.item() == pytest.approx(0.01)
    assert model.temperature.requires_grad


def test_the_loss_reaches_every_parameter_that_is_used() -> None:
    model = tiny()
    captions = model.embed_text(IDS, torch.ones_like(IDS))
    loss = compositional_contrastive_loss(
        model.embed_audio(windows(1)), captions[:1, None], captions[None, None, 1:], model.temperature
    )
    loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == set()
    assert math.isfinite(loss.item())


def test_a_trained_audio_tower_is_audio_flamingo_2s() -> None:
    with torch.device("meta"):
        flamingo = AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config(audio_config=AUDIO))
    theirs = {name: tensor.shape for name, tensor in flamingo.model.audio_tower.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tiny().audio_tower.state_dict().items()} == theirs


def test_the_published_sizes_are_htsat_large_and_flan_t5_base() -> None:
    with torch.device("meta"):
        model = AFClapModel(AFClapConfig())
    assert isinstance(model.audio_tower, ClapAudioModel)
    assert isinstance(model.text_tower, T5EncoderModel)
    assert model.config.audio_config.hidden_size == 2048
    # 12 layers of 4 * 768 * 768 + 3 * 768 * 2048 + 2 * 768, 32,128 * 768 words, 32 * 12 distances, a last norm.
    expected = 12 * (4 * 768**2 + 3 * 768 * 2048 + 2 * 768) + 32_128 * 768 + 32 * 12 + 768
    assert sum(parameter.numel() for parameter in model.text_tower.parameters()) == expected
