"""A record of every visit of a song, for `music-flamingo data audit`."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.ledger_file import append_line, read_starts
from music_flamingo.strategies.row_ranks import row_rank


class Ledger(Callback):
    """Writes each trained row's songs to `ledger/rank0.jsonl`, `ledger/rank1.jsonl`, ... below the run's folder.

    A line is `{"start": 2, "row": 57, "visits": [[cut, epoch, visit], ...], "skipped": 0}`: `start` counts how often
    the run was started, `row` the rows of a rank. A first line of each start says after which row of the checkpoint it
    begins; what earlier starts wrote of later rows was lost with their process, and is trained on again.

    Of ranks that share their rows the first one writes. A line is there before a checkpoint that contains its row.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._start = 0
        self._writes = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir) / "ledger"
        folder.mkdir(parents=True, exist_ok=True)
        self._start = trainer.strategy.broadcast(len(read_starts(folder)))
        rank = row_rank(trainer)
        self._path = folder / f"rank{rank.number}.jsonl"
        self._writes = rank.is_first
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        sampler = data.used_rows.sampler
        begins = {"start": self._start, "begins_after_row": sampler.state.rows, "ranks": rank.ranks}
        corpora = [source.corpus for source in data.blend.sources]
        append_line(self._path, {**begins, "corpora": corpora, **sampler.state_dict()["order"]})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        if batch.origin is None or self._path is None:
            raise UserError("Ledger: expected training rows that know their origin: use ConversationDataModule")
        if not self._writes:
            return
        state = batch.origin.state
        visits = [] if batch.idle else batch.origin.visits
        append_line(self._path, {"start": self._start, "row": state.rows, "visits": visits, "skipped": state.skipped})
