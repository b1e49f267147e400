import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from music_flamingo.errors import UserError
from music_flamingo.stages.optimization import (
    ConstantSchedule,
    CosineSchedule,
    configured_optimizer,
    num_training_steps,
)


class Rows(IterableDataset[torch.Tensor]):
    """No length, as rows that are packed while they are drawn."""

    def __iter__(self):
        return iter(torch.ones(4, 1))


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        return self.weight(batch).sum()

    def train_dataloader(self):
        return DataLoader(Rows(), batch_size=None)

    def configure_optimizers(self):
        return configured_optimizer(self, torch.optim.SGD, CosineSchedule(0.5), num_training_steps(self.trainer))


def fit(**settings) -> Trainer:
    parts = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", **dict.fromkeys(parts, False), **settings)
    trainer.fit(Line())
    return trainer


def test_the_rate_rises_then_falls_to_nothing_over_the_steps_of_the_recipe() -> None:
    trainer = fit(max_steps=4)
    assert trainer.global_step == 4
    (group,) = trainer.optimizers[0].param_groups
    assert group["lr"] == pytest.approx(0)


@pytest.mark.parametrize("settings", [{"max_epochs": 2}, {"max_epochs": -1}, {"max_time": "00:00:01:00"}])
def test_a_recipe_without_a_number_of_steps_is_refused(settings) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_steps: expected the number of optimizer steps, got none"):
        fit(**settings)


def test_a_constant_rate_rises_and_stays() -> None:
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0)
    rates = ConstantSchedule(warmup_steps=4).rates(optimizer, total_steps=8)
    seen = []
    for _ in range(8):
        seen.append(rates.get_last_lr()[0])
        optimizer.step()
        rates.step()
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
