"""Adapters on Music Flamingo and on TinyMU: what they change, what they train, and what is left of them."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.models import LoRA, MusicFlamingo, MusicLanguageModel, TinyMU, freeze_parameters
from music_flamingo.models.model_kinds import load_model
from music_flamingo.rollout import HFEngine, SamplingParameters, SharedEngine
from tests.builders import chat, model_directory, preset_directory, question_row, song
from tests.models.test_packed_rows import asked_row


def adapters(dropout: float = 0.0) -> LoRA:
    return LoRA(rank=2, alpha=8, target_modules=["q_proj", "v_proj", "mlp.*_proj$"], dropout=dropout)


def flamingo_row() -> PackedBatch:
    return question_row([song(10.0), song(15.0, 1)])


TINYMU = "tinymu-tiny"
KINDS = [
    (MusicFlamingo, model_directory, flamingo_row),
    (TinyMU, partial(preset_directory, TINYMU), partial(asked_row, TINYMU)),
]
Kind = Callable[..., MusicLanguageModel]


def trained(model: MusicLanguageModel) -> MusicLanguageModel:
    """As if the adapters had learnt something."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


def hidden(model: MusicLanguageModel, row: PackedBatch) -> torch.Tensor:
    with torch.no_grad():
        return model.hidden_states(row)


@pytest.mark.parametrize(("kind", "directory", "row"), KINDS)
def test_untrained_adapters_change_no_bit(kind: Kind, directory: Callable[[], Path], row: Callable[..., PackedBatch]):
    plain, adapted = kind(str(directory())).eval(), kind(str(directory()), lora=adapters(dropout=0.5))
    assert torch.equal(hidden(adapted.train(), row()), hidden(plain, row()))


@pytest.mark.parametrize(("kind", "directory", "row"), KINDS)
def test_gradients_reach_the_adapters_and_what_is_outside_the_language_model(
    kind: Kind, directory: Callable[[], Path], row: Callable[..., PackedBatch]
) -> None:
    model = trained(kind(str(directory()), lora=adapters()))
    freeze_parameters(model.network, ["audio_tower"])
    (-model.target_logprobs(row())[0].sum()).backward()
    reached = {name for name, parameter in model.network.named_parameters() if parameter.grad is not None}
    expected = {name for name, _ in model.network.named_parameters() if ".lora_" in name or "projector" in name}
    assert reached == expected
    layers = len(model.network.model.language_model.layers)
    assert sum(".lora_" in name for name in reached) == layers * (2 + 3) * 2


@pytest.mark.parametrize(("kind", "directory", "row"), KINDS)
def test_the_export_is_a_plain_directory_that_gives_the_same_logits(
    kind: Kind, directory: Callable[[], Path], row: Callable[..., PackedBatch], tmp_path: Path
) -> None:
    model = trained(kind(str(directory()), lora=adapters())).eval()
    replace_hf_directory(tmp_path / "export", model, str(directory()))
    files = {path.name for path in directory().iterdir()}
    assert {path.name for path in (tmp_path / "export").iterdir()} == files
    kept, before = (load_file(folder / "model.safetensors") for folder in (tmp_path / "export", directory()))
    assert {name: tensor.shape for name, tensor in kept.items()} == {n: t.shape for n, t in before.items()}
    again = load_model(str(tmp_path / "export")).eval()
    assert not torch.allclose(hidden(load_model(str(directory())).eval(), row()), hidden(model, row()), atol=1e-2)
    torch.testing.assert_close(
        hidden(again, row()) @ again.head_weight.T, hidden(model, row()) @ model.head_weight.T, rtol=0, atol=1e-5
    )


def test_a_layer_adds_alpha_over_rank_times_b_a() -> None:
    before = load_model(str(model_directory())).network.model.language_model.layers[1].mlp.up_proj.weight
    model = trained(MusicFlamingo(str(model_directory()), lora=adapters()))
    layer = model.network.model.language_model.layers[1].mlp.up_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape[0], b.shape[1]) == (2, 2)
    inputs = torch.randn(5, before.shape[1])
    expected = inputs @ (before + 8 / 2 * b @ a).T
    torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=1e-5)


def test_an_adapted_last_layer_reads_only_the_rows_asked_for() -> None:
    model, row = trained(MusicFlamingo(str(model_directory()), lora=adapters())).eval(), flamingo_row()
    rows = torch.tensor([3, 40, row.tree.num_tokens - 1])
    with torch.no_grad():
        torch.testing.assert_close(model.hidden_states(row, rows=rows), hidden(model, row)[rows], rtol=0, atol=1e-5)


def test_recomputed_layers_leave_out_the_same_inputs() -> None:
    row, gradients = flamingo_row(), []
    for above in (None, 1):
        torch.manual_seed(1)
        model = trained(MusicFlamingo(str(model_directory()), recompute_above=above, lora=adapters(dropout=0.5)))
        torch.manual_seed(2)
        (-model.train().target_logprobs(row)[0].sum()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if ".lora_" in name})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_both_engines_sample_from_the_adapted_model_and_a_copy_of_it() -> None:
    model = trained(MusicFlamingo(str(model_directory()), lora=adapters())).eval()
    row = question_row([song(10.0)], answers=None)
    greedy = SamplingParameters(max_new_tokens=6, temperature=0.0)
    pairs = [(model, SharedEngine()), (model, HFEngine()), (copy.deepcopy(model), SharedEngine())]
    drawn = []
    for each, engine in pairs:
        with torch.no_grad():
            drawn.append(engine.sample(each, row, each.encode_audio(row), greedy, chat().end_of_turn))
    for other in drawn[1:]:
        assert [c.token_ids.tolist() for c in other] == [c.token_ids.tolist() for c in drawn[0]]
        for one, ours in zip(other, drawn[0], strict=True):
            torch.testing.assert_close(one.logprobs, ours.logprobs, rtol=0, atol=1e-5)


def test_an_expression_that_finds_no_layer_is_refused() -> None:
    with pytest.raises(UserError, match=r"target_modules: 'query' matches no linear layer .* like 'layers\.0\."):
        MusicFlamingo(str(model_directory()), lora=LoRA(2, 4, ["v_proj", "query"]))


@pytest.mark.parametrize(("rank", "alpha", "dropout"), [(0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)])
def test_sizes_that_cannot_be_are_refused(rank: int, alpha: int, dropout: float) -> None:
    with pytest.raises(UserError, match=r"^model\.lora: expected a rank and an alpha of at least 1"):
        LoRA(rank, alpha, ["q_proj"], dropout)
