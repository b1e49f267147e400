"""Feed-forward networks of long rows keep less, and give the same gradients."""

import copy

import torch
from torch import Tensor

from music_flamingo.models import MusicFlamingo
from tests.builders import model_directory, question_row, song

ROW = question_row([song(10.0)])


def gradients_and_bytes_kept(model: MusicFlamingo) -> tuple[dict[str, Tensor], int]:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = -model.target_logprobs(ROW)[0].sum()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, sum(kept.values())


def assert_keeps_less(model: MusicFlamingo, share: float) -> None:
    """Than a model that keeps all; of the same gradients, and so does its copy."""
    expected, all_bytes = gradients_and_bytes_kept(MusicFlamingo(str(model_directory())))
    for each in (model, copy.deepcopy(model)):
        ours, fewer_bytes = gradients_and_bytes_kept(each)
        assert fewer_bytes < share * all_bytes
        assert ours.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-6)


def test_only_rows_above_a_limit_keep_less_and_gradients_are_the_same() -> None:
    tokens = ROW.tree.num_tokens
    _, all_bytes = gradients_and_bytes_kept(MusicFlamingo(str(model_directory())))
    at_limits = MusicFlamingo(str(model_directory()), recompute_above=tokens, recompute_layers_above=tokens)
    assert gradients_and_bytes_kept(at_limits)[1] == all_bytes
    assert_keeps_less(MusicFlamingo(str(model_directory()), recompute_above=tokens - 1), 0.8)
    # At its limit the encoder keeps all: of the song's ten seconds it makes 250 tokens.
    assert_keeps_less(MusicFlamingo(str(model_directory()), recompute_layers_above=tokens - 1), 0.6)
    assert_keeps_less(MusicFlamingo(str(model_directory()), recompute_layers_above=249), 0.3)


def test_whole_layers_are_computed_again_once() -> None:
    """Their networks not a third time."""
    model = MusicFlamingo(str(model_directory()), recompute_above=0, recompute_layers_above=0)
    calls = []
    layer = model.network.model.language_model.layers[0]
    layer.mlp.up_proj.register_forward_hook(lambda *_: calls.append(1))
    gradients_and_bytes_kept(model)
    assert len(calls) == 2


def test_transformers_own_gradient_checkpointing_keeps_less_still_and_gives_the_same_gradients() -> None:
    model = MusicFlamingo(str(model_directory())).train()
    expected, all_bytes = gradients_and_bytes_kept(model)
    model.network.model.language_model.activation_checkpointing_enable()
    ours, fewer_bytes = gradients_and_bytes_kept(model)
    assert fewer_bytes < 0.6 * all_bytes
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-6)


def test_nothing_is_renamed() -> None:
    names = set(MusicFlamingo(str(model_directory())).state_dict())
    assert set(MusicFlamingo(str(model_directory()), recompute_above=0).state_dict()) == names
