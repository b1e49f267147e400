from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer

from music_flamingo.corpora.songbook.vocabulary import songbook_vocabulary
from music_flamingo.data_modules import ConversationDataModule, ThinkTraces
from music_flamingo.rewards import (
    AccuracyReward,
    FormatReward,
    StructuredThinkingReward,
    ThinkStepsReward,
    WeightedReward,
)
from tests.builders import model_directory, quiet_trainer, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("stage-corpus"))


@pytest.fixture
def data(corpus: Path) -> Callable[..., ConversationDataModule]:
    def build(**settings: Any) -> ConversationDataModule:
        style = ThinkTraces(None, ["instrument", "drums", "caption"], ["open", "caption"])
        defaults: dict[str, Any] = {"style": style, "max_duration": 40.0, "questions_per_song": 3}
        return ConversationDataModule(str(corpus), str(model_directory()), **{**defaults, **settings})

    return build


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trainer]:
    def run(module: LightningModule, data: ConversationDataModule, max_steps: int = 3, **settings: Any) -> Trainer:
        torch.manual_seed(0)
        trainer = quiet_trainer(tmp_path, max_steps=max_steps, **settings)
        trainer.fit(module, data)
        return trainer

    return run


@pytest.fixture
def rewards() -> list[WeightedReward]:
    vocabulary = songbook_vocabulary()
    built = [
        FormatReward(),
        AccuracyReward(),
        StructuredThinkingReward(vocabulary),
        ThinkStepsReward(vocabulary),
    ]
    return [WeightedReward(reward) for reward in built]
