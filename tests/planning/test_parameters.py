import pytest
import torch
from torch import nn
from transformers import MusicFlamingoForConditionalGeneration

from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config
from music_flamingo.models.freezing import freeze_parameters
from music_flamingo.models.tinymu import TinyMUConfig
from music_flamingo.planning.parameters import count_parameters, meta_network
from tests.builders import full_size_config, tiny_model


def test_music_flamingo_has_the_published_sizes() -> None:
    counts = count_parameters(meta_network(full_size_config()))
    assert {part: round(count.all / 1e6, 1) for part, count in counts.parts.items()} == {
        "encoder": 637.0,
        "projector": 17.4,
        "layers": 6525.6,
        "embedding": 545.0,
        "head": 545.0,
    }
    assert counts.frozen == 1500 * 1280  # Whisper's sinusoids


@pytest.mark.parametrize(("config", "millions"), [(TinyMUConfig(), 228.9), (AudioFlamingo2Config(), 4791.6)])
def test_the_relatives_have_theirs(config: TinyMUConfig | AudioFlamingo2Config, millions: float) -> None:
    assert round(count_parameters(meta_network(config)).all / 1e6, 1) == pytest.approx(millions, abs=0.5)


def test_what_is_counted_is_what_a_loaded_model_has() -> None:
    network: nn.Module = tiny_model().network
    counted = meta_network(network.config)  # type: ignore[arg-type]
    for each in (network, counted):
        freeze_parameters(each, ["audio_tower.layers.0"])
    by_name = {name: (p.shape, p.requires_grad) for name, p in network.named_parameters()}
    assert {name: (p.shape, p.requires_grad) for name, p in counted.named_parameters()} == by_name
    counts = count_parameters(counted)
    assert counts.trained == sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert counts.all == sum(p.numel() for p in network.parameters())


def test_nothing_is_allocated() -> None:
    network = meta_network(full_size_config())
    assert isinstance(network, MusicFlamingoForConditionalGeneration)
    assert {p.device for p in network.parameters()} == {torch.device("meta")}
