"""Stages train adapters and leave the language model as it is."""

from collections.abc import Callable
from functools import partial

import torch
from lightning import Trainer

from music_flamingo.callbacks import GRPOSampling
from music_flamingo.data_modules import ConversationDataModule
from music_flamingo.models import LoRA, MusicFlamingo, MusicLanguageModel
from music_flamingo.rewards import WeightedReward
from music_flamingo.rollout import SamplingParameters
from music_flamingo.stages import CosineSchedule, GRPOModule, SFTModule
from tests.builders import model_directory, question_row, song
from tests.stages.test_grpo import EvenLetters

ADAM = partial(torch.optim.AdamW, lr=3e-3)


def adapted(dropout: float) -> MusicFlamingo:
    return MusicFlamingo(str(model_directory()), lora=LoRA(4, 8, ["_proj$"], dropout))


def parameters(model: MusicLanguageModel) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.network.named_parameters()}


def test_a_fit_moves_the_adapters_alone_where_all_else_is_frozen(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    stage = SFTModule(
        adapted(dropout=0.1), ADAM, freeze=["audio_tower", "multi_modal_projector"], schedule=CosineSchedule(0.0)
    )
    before = parameters(stage.model)
    trainer = train(stage, data(), max_steps=3)
    moved = {name for name, p in parameters(stage.model).items() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if ".lora_" in name}
    groups = trainer.optimizers[0].param_groups
    assert sum(len(group["params"]) for group in groups) == len(moved)


def test_inputs_of_adapters_are_left_out_in_training_alone() -> None:
    stage = SFTModule(adapted(dropout=0.5), ADAM, freeze=["audio_tower"])
    layer = stage.model.network.model.language_model.layers[0].mlp.up_proj
    assert stage.train() is stage
    assert (layer.lora_dropout["default"].training, layer.base_layer.training) == (True, False)
    assert not stage.eval().model.network.model.language_model.layers[0].mlp.up_proj.lora_dropout["default"].training


def test_grpo_reinforces_adapters_and_its_reference_stays(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], rewards: list[WeightedReward]
) -> None:
    group = SamplingParameters(max_new_tokens=8, num_generations=5)
    settings = {"sampling": group, "beta": 0.1, "freeze": ["audio_tower"], "schedule": CosineSchedule(0.0)}
    model = adapted(dropout=0.5)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # an untrained one would hide dropout
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    stage = GRPOModule(model, ADAM, rewards, **settings)  # type: ignore[arg-type]
    before, reference = parameters(stage.model), parameters(stage._reference[0])
    trainer = train(stage, data(prompts_only=True), max_steps=2, callbacks=[GRPOSampling()])
    assert trainer.callback_metrics["train/rollout_difference"] < 1e-4
    after = parameters(stage.model)
    assert all(torch.equal(p, before[name]) for name, p in after.items() if "base_layer" in name)
    assert all(torch.equal(p, reference[name]) for name, p in parameters(stage._reference[0]).items())
    assert any(not torch.equal(p, before[name]) for name, p in after.items() if "lora_B" in name)


def test_where_adapters_alone_train_the_model_without_them_is_the_reference(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    group = SamplingParameters(max_new_tokens=8, num_generations=5)
    frozen = ["audio_tower", "multi_modal_projector"]
    rewards = [WeightedReward(EvenLetters())]
    stage = GRPOModule(adapted(0.1), ADAM, rewards, group, beta=0.1, freeze=frozen, schedule=CosineSchedule(0.0))
    assert not stage._reference
    train(stage, data(prompts_only=True), max_steps=2, callbacks=[GRPOSampling()])
    row, start = question_row([song(10.0)]), MusicFlamingo(str(model_directory()))
    with torch.no_grad():
        expected, trained = (model.eval().target_logprobs(row)[0] for model in (start, stage.model))
        with stage._reference_model() as reference:
            torch.testing.assert_close(reference.target_logprobs(row)[0], expected)
        assert (stage.model.target_logprobs(row)[0] - expected).abs().max() > 1e-4
        torch.testing.assert_close(stage.model.target_logprobs(row)[0], trained)
    assert all(each.requires_grad == (".lora_" in name) for name, each in stage.model.network.named_parameters())
