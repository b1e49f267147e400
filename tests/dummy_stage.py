"""A training stage and data of the smallest size, named by class_path in the tests of the command line."""

from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from music_flamingo.errors import UserError


@dataclass(frozen=True)
class Rollout:
    temperature: float = 1.0
    num_generations: int = 5


ROLLOUT = Rollout()


class UntestedStage(LightningModule):
    """One weight that is pulled towards zero, and never tested."""

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        rollout: Rollout = ROLLOUT,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters("start")
        self.optimizer = optimizer
        self.weight = torch.nn.Parameter(torch.tensor(start))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.weight * batch[0]).square().mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


class Stage(UntestedStage):
    """The weight is what its test measures."""

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test/weight", self.weight)


class FailingStage(Stage):
    """A training stage that stops in its first step."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        raise ZeroDivisionError


class PickyStage(Stage):
    """A training stage that refuses how it is built."""

    def __init__(self, start: float = 1.0) -> None:
        raise UserError(f"start: expected a number below 1, got {start}")


class OtherStage(Stage):
    """Another training stage."""


class Data(LightningDataModule):
    """Eight ones, one at a time."""

    def __init__(self, cuts: str = "") -> None:
        super().__init__()
        self.cuts = cuts

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(torch.ones(8)))

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(torch.ones(1)))

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(torch.ones(1)))
