"""How many sequences and tokens does an optimizer step learn from, over all devices?"""

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from music_flamingo.batch import PackedBatch
from music_flamingo.data_modules.step_size import StepSize
from music_flamingo.errors import UserError
from music_flamingo.strategies.row_ranks import row_rank


class GlobalBatch(Callback):
    """Makes an optimizer step as large as a recipe wants, on any number of devices.

    A sequence is a conversation about a song, as papers count pairs: the loss is a mean over what is answered, whether
    a row holds the song once for each conversation or once for all. A row holds as many as fit, so how many these are
    is counted, without loading any audio, in the first rows that training will see. From that follow the rows of each
    device between two optimizer steps: `trainer.accumulate_grad_batches`, or the `rows_per_step` of a stage that steps
    by itself. Where a recipe sets them, they are checked instead.

    Stands before `Curriculum` in `trainer.callbacks`, which counts rows by what is set here.

    Logs global_batch/sequences and global_batch/tokens, those of the last optimizer step on all ranks; a stage that
    samples counts prompts.

    Args:
        sequences: of a step; None where tokens are wanted.
        tokens: of a step; None where sequences are wanted.
        tolerance: share of them by which a step may differ on average.
        counted_rows: of each device.

    Raises:
        UserError: not exactly one of `sequences` and `tokens` is given.
    """

    def __init__(
        self, sequences: int | None = None, tokens: int | None = None, tolerance: float = 0.1, counted_rows: int = 50
    ) -> None:
        given = {"sequences": sequences, "tokens": tokens}
        wanted = {unit: number for unit, number in given.items() if number is not None}
        if len(wanted) != 1:
            raise UserError(
                f"GlobalBatch: expected either sequences or tokens of a step, got {given}: give one of them"
            )
        self.unit, self.wanted = wanted.popitem()
        self.tolerance = tolerance
        self.counted_rows = counted_rows
        self._seen = {"sequences": 0, "tokens": 0}
        self._last_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        size: StepSize = data.step_size(self.counted_rows)
        setting = "accumulate_grad_batches" if pl_module.automatic_optimization else "model.rows_per_step"
        owner, name = (trainer, setting) if pl_module.automatic_optimization else (pl_module, "rows_per_step")
        rows = self._rows(size, getattr(owner, name, 1), setting, data.row_limits.max_tokens)
        if rows > 1 and not hasattr(owner, name):
            raise UserError(
                f"GlobalBatch.{self.unit}: expected {self.wanted} a step, got {type(pl_module).__name__}, which steps "
                "after every row: raise data.max_tokens, or take more devices"
            )
        setattr(owner, name, rows)
        if trainer.is_global_zero:
            print(described(size, rows), flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        if not batch.idle and row_rank(trainer).is_first:
            self._seen["sequences"] += len(batch.prompts())
            self._seen["tokens"] += batch.tree.num_tokens
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        counts = torch.tensor(list(self._seen.values()), device=pl_module.device)
        for unit, count in zip(self._seen, trainer.strategy.reduce(counts, reduce_op="sum").tolist(), strict=True):
            pl_module.log(f"global_batch/{unit}", float(count), batch_size=1)
        self._seen = dict.fromkeys(self._seen, 0)

    def _rows(self, size: StepSize, given: int, setting: str, max_tokens: int | None) -> int:
        """Of each device between two optimizer steps; `given` where the recipe says more than one."""
        in_step = getattr(size, self.unit)
        rows = given if given > 1 else nearest_rows(self.wanted, in_step)
        if abs(rows * in_step - self.wanted) <= self.tolerance * self.wanted:
            return rows
        per_device = in_step / size.ranks
        raise UserError(
            f"GlobalBatch.{self.unit}: expected {self.wanted} a step, but for {self.tolerance:.0%}, got "
            f"{rows * in_step:.4g} ({_devices(size.ranks)} x {rows} rows x {per_device:.4g} a row): "
            f"{', or '.join(self._remedies(size, given, setting, max_tokens))}"
        )

    def _remedies(self, size: StepSize, given: int, setting: str, max_tokens: int | None) -> list[str]:
        in_step = getattr(size, self.unit)
        devices = fitting_devices(self.wanted, in_step / size.ranks, size.ranks, self.tolerance)
        remedies = [f"leave {setting} out"] if given > 1 else []
        remedies += [f"take {' or '.join(map(str, devices))} devices"] if devices else []
        if max_tokens is None:
            return [*remedies, "lower data.questions_per_song"]
        share = self.wanted / math.ceil(self.wanted / in_step) / in_step
        return [*remedies, f"lower data.max_tokens to {math.floor(share * max_tokens)}"]


def nearest_rows(wanted: float, per_row: float) -> int:
    """How many rows, at least one, hold together most nearly what is wanted."""
    return max(1, round(wanted / per_row))


def fitting_devices(wanted: float, per_device: float, devices: int, tolerance: float) -> list[int]:
    """The nearest numbers of devices, below and above, of which some rows hold what is wanted, but for `tolerance`."""

    def fits(number: int) -> bool:
        reached = nearest_rows(wanted, number * per_device) * number * per_device
        return abs(reached - wanted) <= tolerance * wanted

    most = int((1 + tolerance) * wanted / per_device)
    below = next((number for number in range(min(devices - 1, most), 0, -1) if fits(number)), None)
    above = next((number for number in range(devices + 1, most + 1) if fits(number)), None)
    return [number for number in (below, above) if number is not None]


def described(size: StepSize, rows: int) -> str:
    """What a step holds and how many steps an epoch has, in one line."""
    return (
        f"a step: {size.sequences * rows:.4g} sequences, {size.tokens * rows:,.0f} tokens ({_devices(size.ranks)} x "
        f"{rows} rows of {size.sequences / size.ranks:.3g} sequences, {size.tokens / size.ranks:,.0f} tokens); an "
        f"epoch: about {max(1, round(size.steps_of_epoch / rows)):,} steps"
    )


def _devices(number: int) -> str:
    return "1 device" if number == 1 else f"{number} devices"
