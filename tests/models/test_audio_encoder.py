"""Windows of any length come out as transformers' own forward gives them, and none is computed beyond its end."""

import pytest
import torch
from torch import Tensor
from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3EncoderLayer

from music_flamingo.batch import AudioWindows
from music_flamingo.models.audio_encoder import audio_token_lengths, encode_windows
from tests.builders import tiny_model

FULL = 1000
LAYOUTS = [[FULL, FULL], [FULL, 7, 998, FULL, 401, 7], [4], [250, 250], [999, 997, 996, 5]]


def windows(lengths: list[int]) -> AudioWindows:
    torch.manual_seed(0)
    heard, places = torch.tensor(lengths), torch.arange(len(lengths))
    return AudioWindows(torch.randn(len(lengths), 64, FULL), heard, places, audio_token_lengths(heard))


@pytest.mark.parametrize("lengths", LAYOUTS)
def test_outputs_and_gradients_are_those_of_transformers_own_masked_forward(lengths: list[int]) -> None:
    encoder, heard = tiny_model().network.model.audio_tower, windows(lengths)
    encoder.requires_grad_(True)
    mask = (torch.arange(FULL) < heard.lengths[:, None]).long()
    real = torch.arange(250) < audio_token_lengths(heard.lengths)[:, None]
    towards = torch.randn(len(lengths), 250, 96)[real]
    results: list[tuple[Tensor, dict[str, Tensor]]] = []
    for output in (encoder(heard.features, input_features_mask=mask).last_hidden_state, encode_windows(encoder, heard)):
        encoder.zero_grad()
        (output[real] * towards).sum().backward()
        results.append((output, {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}))
    (expected, expected_grads), (ours, our_grads) = results
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours[real], expected[real], rtol=0, atol=2e-5)
    assert not ours[~real].any()
    assert our_grads.keys() == expected_grads.keys()
    for name, gradient in expected_grads.items():
        assert float((our_grads[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)) < 2e-5, name


def test_short_windows_are_computed_only_as_far_as_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = AudioFlamingo3EncoderLayer.forward

    def recorded(layer: AudioFlamingo3EncoderLayer, hidden: Tensor, mask: Tensor | None) -> Tensor:
        sizes.append(hidden.shape[:2])
        output: Tensor = forward(layer, hidden, mask)
        return output

    monkeypatch.setattr(AudioFlamingo3EncoderLayer, "forward", recorded)
    encode_windows(tiny_model().network.model.audio_tower, windows([FULL, 400, FULL]))
    assert set(sizes) == {(1, 200), (2, 500)}
