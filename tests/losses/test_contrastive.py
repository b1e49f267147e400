import math

import pytest
import torch

from music_flamingo.losses import audio_text_contrastive_loss


def test_equal_embeddings_cost_the_logarithm_of_the_batch() -> None:
    embeddings = torch.ones(4, 3)
    assert audio_text_contrastive_loss(embeddings, embeddings).item() == pytest.approx(math.log(4))


def test_orthogonal_pairs_cost_what_the_temperature_says() -> None:
    # Similarities 1 and 0 over temperature 1/2: -log(e^2 / (e^2 + 1)).
    loss = audio_text_contrastive_loss(torch.eye(2), torch.eye(2), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_each_clip_is_compared_with_all_captions() -> None:
    audio, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # First clip: similarities (1, 1); second: (0, 0). Both cost log 2; the other direction would not.
    assert audio_text_contrastive_loss(audio, text, temperature=1.0).item() == pytest.approx(math.log(2))
    assert audio_text_contrastive_loss(text, audio, temperature=1.0).item() != pytest.approx(math.log(2))


def test_the_length_of_the_embeddings_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    audio, text = torch.randn(5, 8, generator=generator), torch.randn(5, 8, generator=generator)
    loss = audio_text_contrastive_loss(audio, text)
    torch.testing.assert_close(audio_text_contrastive_loss(3 * audio, text / 7), loss)


@pytest.mark.parametrize(("audio", "text"), [((2, 3), (3, 3)), ((3,), (3,))])
def test_shapes_that_do_not_pair_are_refused(audio: tuple[int, ...], text: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected audio and text \(B, D\) alike"):
        audio_text_contrastive_loss(torch.ones(audio), torch.ones(text))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, not 0"):
        audio_text_contrastive_loss(torch.eye(2), torch.eye(2), temperature=0)
