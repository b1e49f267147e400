import pytest
import torch
from transformers import Qwen2Config, Qwen2Model, Qwen3Config, Qwen3Model
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from music_flamingo.models.last_layer import read_selected_rows
from tests.builders import question_row, song, tiny_model

ROW = question_row([song(10.0, 0), song(23.4, 1)])
BELOW_ROOTS = [p for s, parent in enumerate(ROW.tree.parents) if parent >= 0 for p in ROW.tree.row_positions(s)[-2:]]


@pytest.mark.parametrize("rows", [BELOW_ROOTS, [0, 7, *BELOW_ROOTS], list(range(ROW.tree.num_tokens))])
def test_selected_rows_have_the_hidden_states_and_gradients_of_the_whole_row(rows: list[int]) -> None:
    model, read = tiny_model(), torch.tensor(sorted(rows))
    torch.manual_seed(0)
    towards = torch.randn(len(read), model.head_weight.shape[1])
    results = []
    for hidden in (model.hidden_states(ROW)[read], model.hidden_states(ROW, rows=read)):
        model.zero_grad()
        (hidden * towards).sum().backward()
        results.append((hidden, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (whole, whole_grads), (selected, selected_grads) = results
    torch.testing.assert_close(selected, whole, rtol=0, atol=1e-5)
    assert whole_grads.keys() == selected_grads.keys()
    for name, gradient in whole_grads.items():
        assert float((selected_grads[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)) < 2e-5, name


def test_the_last_layer_feeds_forward_only_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = Qwen2MLP.forward
    monkeypatch.setattr(Qwen2MLP, "forward", lambda mlp, x: sizes.append(x.shape[-2]) or forward(mlp, x))
    tiny_model().target_logprobs(ROW)
    assert sizes[0] == ROW.tree.num_tokens
    assert sizes[-1] == len(ROW.targets.positions.unique()) < ROW.tree.num_tokens


def test_a_language_model_of_another_kind_keeps_its_last_layer() -> None:
    size = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    assert read_selected_rows(Qwen2Model(Qwen2Config(**size, **heads)))
    assert not read_selected_rows(Qwen3Model(Qwen3Config(**size, **heads, head_dim=4)))
