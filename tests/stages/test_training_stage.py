from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer

from music_flamingo.data_modules import ConversationDataModule
from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.rewards import WeightedReward
from music_flamingo.stages import GRPOModule, SFTModule
from music_flamingo.stages.training_stage import TrainingStage
from tests.builders import model_directory
from tests.stages.test_grpo import GROUP, EvenLetters

SGD = partial(torch.optim.SGD, lr=1e-3)


def modes_in_a_step(stage: TrainingStage, data: ConversationDataModule, train: Callable[..., Trainer]) -> list[bool]:
    """Whether encoder and language model were in training mode in the first step."""
    seen: list[bool] = []
    step = stage.training_step

    def watched(*args: Any) -> Any:
        body = stage.model.network.model
        seen.extend([body.audio_tower.training, body.language_model.training])
        return step(*args)

    stage.training_step = watched  # type: ignore[method-assign]
    train(stage, data, max_steps=1)
    return seen


def test_weights_train_in_training_mode_though_they_load_in_evaluation_mode(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    model = MusicFlamingo(str(model_directory()))
    assert not model.network.training
    assert modes_in_a_step(SFTModule(model, SGD), data(), train) == [True, True]


def test_what_is_frozen_stays_in_evaluation_mode(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    stage = SFTModule(MusicFlamingo(str(model_directory())), SGD, freeze=["audio_tower"])
    assert modes_in_a_step(stage, data(), train) == [False, True]


def test_grpo_updates_the_policy_that_it_sampled_from_without_dropout(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    model = MusicFlamingo(str(model_directory())).train()
    stage = GRPOModule(model, SGD, [WeightedReward(EvenLetters())], GROUP)
    assert modes_in_a_step(stage, data(prompts_only=True), train) == [False, False]


def test_the_checkpoint_of_another_model_is_refused_by_the_name_of_a_weight(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    stage = SFTModule(MusicFlamingo(str(model_directory())), SGD)
    train(stage, data(), max_steps=1)
    state = {name: each for name, each in stage.state_dict().items() if "lm_head" not in name}
    for given, named in ((state, "has none lm_head.weight"), ({**stage.state_dict(), "x": 0}, "has x")):
        with pytest.raises(UserError, match=rf"got one that {named} \(1 weights differ\)"):
            stage.on_load_checkpoint({"state_dict": given})
