"""A model attends the way it is told, and else the fastest way its tensors allow."""

import pytest
import torch

from music_flamingo.kernels import GridFlash, PlainAttention, PrefixAttention, VarlenFlash
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.attention import fastest_attention
from tests.builders import model_directory, question_row, song
from tests.kernels.definition import DefinitionVarlen

ROW = question_row([song(10.0, 0), song(13.4, 1)])


@pytest.mark.parametrize("attention", [PlainAttention(), VarlenFlash(DefinitionVarlen())])
def test_any_attention_gives_the_models_log_probabilities_and_gradients(attention: PrefixAttention) -> None:
    results = []
    for chosen in (GridFlash(), attention):
        model = MusicFlamingo(str(model_directory()), attention=chosen).eval()
        logprobs, _ = model.target_logprobs(ROW)
        logprobs.sum().backward()
        results.append((logprobs, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (expected, expected_gradients), (ours, gradients) = results
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert float((gradients[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)) < 2e-5, name


def test_flash_attention_is_chosen_where_there_is_one() -> None:
    assert isinstance(fastest_attention("cpu", torch.float32), GridFlash)
    assert isinstance(fastest_attention("cpu", torch.bfloat16), GridFlash)
    assert isinstance(fastest_attention("cuda", torch.bfloat16), VarlenFlash)
    assert isinstance(fastest_attention("cuda", torch.float32), PlainAttention)
    assert isinstance(fastest_attention("mps", torch.float16), PlainAttention)
