"""Two small towers and their gradient: imported by a test, and run as one of two processes."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from music_flamingo.losses import GatheredCaptions, compositional_contrastive_loss, gathered_captions

CLIPS, WIDTH = 6, 5
SHARES = (3, 5, 6)
"""Clips of the first of two processes; the second has the others, which may be none."""


class Towers(nn.Module):
    """A linear tower for audio, one for text, and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.audio, self.text = nn.Linear(WIDTH, 4).double(), nn.Linear(WIDTH, 4).double()
        self.log_temperature = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        audio, *texts = inputs
        vectors = [self.audio(audio), *(self.text(text) for text in texts)]
        return *(normalize(each, dim=-1) for each in vectors), self.log_temperature.exp()


def joined_batch() -> tuple[Tensor, ...]:
    """Clips, two captions of each, and three negatives of each caption."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((CLIPS, WIDTH), (CLIPS, 2, WIDTH), (CLIPS, 2, 3, WIDTH))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def gradients(
    towers: nn.Module, batch: tuple[Tensor, ...], gather: Callable[[Tensor], GatheredCaptions]
) -> dict[str, Tensor]:
    """Gradient of every parameter."""
    audio, positives, negatives, temperature = towers(*batch)
    everyone, offset, num_clips = gather(positives)
    compositional_contrastive_loss(audio, everyone, negatives, temperature, offset, num_clips).backward()
    return {
        name.removeprefix("module."): each.grad for name, each in towers.named_parameters() if each.grad is not None
    }


def stacked(tensor: Tensor) -> Tensor:
    """As Lightning's `all_gather` with `sync_grads=True`."""
    return torch.stack(all_gather(tensor))


def main(folder: Path, rank: int) -> None:
    """Write the gradient that this process sees on its part of the batch, for each way to gather and share."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    for name, gather in (("torch", all_gather), ("lightning", stacked)):
        for share in SHARES:
            found = gradients_of_part(rank, share, gather)
            save_file(found, folder / f"{name}{share}{rank}.safetensors")
    # The models are gone by now: one that outlives its process group waits for ever when it is freed.
    torch.distributed.destroy_process_group()


def gradients_of_part(rank: int, share: int, gather: Callable[[Tensor], Any]) -> dict[str, Tensor]:
    """Gradient of every parameter, averaged over the processes."""
    part = tuple(each.split([share, CLIPS - share])[rank] for each in joined_batch())
    towers = DistributedDataParallel(Towers())
    return gradients(towers, part, partial(gathered_captions, all_gather=gather, rank=rank))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
