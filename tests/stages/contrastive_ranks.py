"""Trains a few steps of the contrastive stage: imported by a test, and run as one of two processes."""

import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from music_flamingo.data_modules import ConversationDataModule, DirectAnswers, SongbookCaptions
from music_flamingo.models import AFClap
from music_flamingo.stages import ContrastiveModule, CosineSchedule
from tests.builders import quiet_trainer


class WithFixedStatistics(ContrastiveModule):
    """Each process would normalise by the mel bands of its own clips, and so differ from one process."""

    def train(self, mode: bool = True) -> "WithFixedStatistics":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def train(corpus: str, clap: str, flamingo: str, max_duration: float, devices: int, folder: Path) -> ContrastiveModule:
    """Three steps of gradient descent."""
    torch.manual_seed(0)
    # Adam would turn gradients of rounding's size into steps of full size.
    module = WithFixedStatistics(
        AFClap(clap), partial(torch.optim.SGD, lr=0.3), SongbookCaptions(2, 2), CosineSchedule(0.0)
    )
    data = ConversationDataModule(
        corpus, flamingo, DirectAnswers(), questions_per_song=0, max_duration=max_duration, cache_features=False
    )
    strategy = "ddp" if devices > 1 else "auto"
    trainer = quiet_trainer(folder, devices=devices, strategy=strategy, max_steps=3, log_every_n_steps=1)
    trainer.fit(module, data)
    if devices > 1:
        trained = {name: parameter.detach() for name, parameter in module.named_parameters()}
        save_file(trained, folder / f"rank{trainer.global_rank}.safetensors")
        # A model that outlives its process group waits for ever when it is freed.
        trainer.strategy.teardown()
    return module


if __name__ == "__main__":
    corpus_, clap_, flamingo_, max_duration_, folder_ = sys.argv[1:]
    train(corpus_, clap_, flamingo_, float(max_duration_), 2, Path(folder_))
