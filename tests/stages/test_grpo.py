from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from music_flamingo.callbacks import GRPOSampling
from music_flamingo.data_modules import ConversationDataModule
from music_flamingo.errors import UserError
from music_flamingo.losses import DAPOLoss, DrGRPOLoss, GRPOLoss, PolicyLoss, kl_penalty
from music_flamingo.models import MusicFlamingo
from music_flamingo.rewards import Reference, Reward, WeightedReward
from music_flamingo.rollout import SamplingParameters
from music_flamingo.stages import CosineSchedule, GRPOModule
from tests.builders import model_directory

SGD = partial(torch.optim.SGD, lr=0.5)
GROUP = SamplingParameters(max_new_tokens=8, num_generations=5)


class EvenLetters(Reward):
    """Pays for answers of an even number of letters: something that every group disagrees on."""

    name = "even_letters"

    def __call__(self, completion: str, reference: Reference) -> float:
        return float(len(completion) % 2 == 0)


def stage(**settings: Any) -> GRPOModule:
    defaults: dict[str, Any] = {
        "rewards": [WeightedReward(EvenLetters())],
        "sampling": GROUP,
        "schedule": CosineSchedule(0.0),
    }
    return GRPOModule(MusicFlamingo(str(model_directory())), SGD, **{**defaults, **settings})


@pytest.mark.parametrize("loss", [GRPOLoss(), DrGRPOLoss(max_completion_length=8), DAPOLoss()])
def test_a_step_moves_the_policy_and_the_rollout_agrees_with_the_trainer(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], loss: PolicyLoss
) -> None:
    module = stage(policy_loss=loss, listening_every=1)
    before = module.model.head_weight.detach().clone()
    trainer = train(module, data(prompts_only=True), max_steps=2, callbacks=[GRPOSampling()])
    assert not torch.equal(before, module.model.head_weight)
    logged = trainer.callback_metrics
    assert logged["train/rollout_difference"] < 1e-4
    assert 0 < logged["train/reward"] < 1
    assert -1 <= logged["train/listening_gap"] <= 1
    assert logged["train/completion_tokens_max"] <= 8
    for name in (
        "reward_std",
        "reward_zero_spread",
        "rewards/even_letters",
        "cut_share",
        "clip_share",
        "entropy",
    ):
        assert f"train/{name}" in logged


def test_a_rollout_that_hears_something_else_stops_the_run(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module = stage()
    rollout = module._rollout
    module._rollout = lambda batch, features: rollout(batch, None if features is None else -features)  # type: ignore[method-assign]
    module = module.requires_grad_(True)
    for parameter in module.model.network.model.audio_tower.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"rollout and trainer disagree .* do not run the same model"):
        train(module, data(prompts_only=True), max_steps=1, callbacks=[GRPOSampling()])


def test_the_encoder_runs_once_per_row_when_it_is_frozen(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module = stage(freeze=["audio_tower"], num_updates=2, listening_every=0)
    train(module, data(prompts_only=True), max_steps=4, callbacks=[GRPOSampling()])
    assert module.model.windows_encoded == 2 * 4


def seen_penalties(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The penalties of a fit, as they are computed."""
    penalties: list[Tensor] = []

    def remember(*args: Tensor) -> Tensor:
        penalties.append(kl_penalty(*args))
        return penalties[-1]

    monkeypatch.setattr("music_flamingo.stages.grpo.kl_penalty", remember)
    return penalties


def test_the_penalty_is_zero_at_the_reference_and_then_grows(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    penalties = seen_penalties(monkeypatch)
    module = stage(beta=0.1)
    train(module, data(prompts_only=True), max_steps=3, callbacks=[GRPOSampling()])
    assert abs(float(penalties[0])) < 1e-6 < float(penalties[-1])
    assert not any("_reference" in name for name in module.state_dict())


def test_the_reference_reads_a_rollout_once_and_hears_what_the_frozen_encoder_heard(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    penalties = seen_penalties(monkeypatch)
    module = stage(beta=0.1, freeze=["audio_tower"], listening_every=0, num_updates=2)
    read = []
    reference = module._reference[0]
    hidden_states = reference.hidden_states
    monkeypatch.setattr(
        reference, "hidden_states", lambda *args, **rows: read.append(1) or hidden_states(*args, **rows)
    )
    train(module, data(prompts_only=True), max_steps=4, callbacks=[GRPOSampling()])
    assert (len(penalties), len(read)) == (4, 2)
    assert abs(float(penalties[0])) < 1e-6 < float(penalties[-1])
    assert module.model.windows_encoded == 2 * 4
    assert reference.windows_encoded == 0


def test_equal_seeds_sample_equal_completions_and_the_state_goes_on(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    weights, states = [], []
    for seed in (1, 1, 2):
        module, sampling = stage(), GRPOSampling(seed=seed)
        train(module, data(prompts_only=True), max_steps=1, callbacks=[sampling])
        weights.append(module.model.head_weight.detach())
        states.append(sampling.state_dict())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert states[0]["completions"] == 4 * 3 * 5
    restored = GRPOSampling()
    restored.load_state_dict(states[0])
    assert restored.completions == 60


def test_a_stage_without_rewards_or_group_is_refused() -> None:
    with pytest.raises(UserError, match="expected at least one reward"):
        stage(rewards=[])
    with pytest.raises(UserError, match="expected a group of at least 2, got 1"):
        stage(sampling=SamplingParameters())
