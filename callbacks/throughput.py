"""How much audio and text a run gets through."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer

from music_flamingo.batch import PackedBatch


class ThroughputMonitor(Callback):
    """Logs, every `every` steps, what a run (of several processes, the first) gets through.

    Per second of wall time: throughput/audio_seconds, throughput/tokens, throughput/rows; and the totals
    throughput/encoder_windows and throughput/encoder_windows_with_gradient. A run whose encoder windows stay at zero
    trains on text alone.

    Args:
        every: steps between two readings.
        clock: gives seconds.
    """

    def __init__(self, every: int = 10, clock: Callable[[], float] = time.perf_counter) -> None:
        self.every = every
        self.clock = clock
        self.totals = {"audio_seconds": 0.0, "tokens": 0.0, "rows": 0.0}
        self._last_totals = dict(self.totals)
        self._last_time: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        self.totals["rows"] += 1
        self.totals["tokens"] += batch.tree.num_tokens
        if batch.audio is not None:
            self.totals["audio_seconds"] += float(batch.audio.lengths.sum()) / 100  # mel frames of 10 ms
        if self._last_time is None:
            self._restart()
        elif self.totals["rows"] - self._last_totals["rows"] >= self.every:
            self._log(pl_module)
            self._restart()

    def state_dict(self) -> dict[str, Any]:
        return {"totals": dict(self.totals)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.totals = dict(state_dict["totals"])

    def _restart(self) -> None:
        self._last_time, self._last_totals = self.clock(), dict(self.totals)

    def _log(self, pl_module: LightningModule) -> None:
        seconds = max(self.clock() - (self._last_time or 0.0), 1e-9)
        for name, total in self.totals.items():
            pl_module.log(f"throughput/{name}", (total - self._last_totals[name]) / seconds, batch_size=1)
        model: Any = pl_module.model
        pl_module.log("throughput/encoder_windows", float(model.windows_encoded), batch_size=1)
        pl_module.log("throughput/encoder_windows_with_gradient", float(model.windows_with_gradient), batch_size=1)
