"""Lets people listen to what a model trains on, and read what it says about it."""

from collections.abc import Mapping
from typing import Any

from lhotse.cut import Cut
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from music_flamingo.batch import PackedBatch
from music_flamingo.corpora.song_audio import load_waveform
from music_flamingo.rollout import SamplingParameters
from music_flamingo.rollout.rows import without_answers
from music_flamingo.stages.answering import AnsweringModule


class SampleLogger(Callback):
    """Writes, at most every `every` steps, songs and answers of a validation row to TensorBoard: audio and text.

    Args:
        every: steps between two entries.
        songs: songs per entry.
        seconds: audio written of each song.
        max_new_tokens: a longer answer is cut.
    """

    def __init__(self, every: int = 100, songs: int = 2, seconds: float = 10.0, max_new_tokens: int = 96) -> None:
        self.every = every
        self.songs = songs
        self.seconds = seconds
        self.max_new_tokens = max_new_tokens
        self.entries = 0
        self._next_step = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PackedBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx or trainer.sanity_checking or trainer.global_step < self._next_step:
            return
        if isinstance(pl_module, AnsweringModule) and isinstance(trainer.logger, TensorBoardLogger):
            self._write(trainer, pl_module, batch, trainer.logger)
            self.entries += 1
            self._next_step = trainer.global_step + self.every

    def state_dict(self) -> dict[str, Any]:
        return {"entries": self.entries, "next_step": self._next_step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.entries, self._next_step = int(state_dict["entries"]), int(state_dict["next_step"])

    def _write(self, trainer: Trainer, stage: AnsweringModule, batch: PackedBatch, logger: TensorBoardLogger) -> None:
        row = without_answers(batch, stage.model.audio_token_id)
        answers: dict[int, list[str]] = {}
        for completion in stage.sample(row, SamplingParameters(self.max_new_tokens, temperature=0.0)):
            conversation = row.examples[completion.prompt]["conversation"]
            text = stage.chat.decode(completion.token_ids)
            line = f"**{conversation['question']}**\n\n{_escaped(text)}\n\n*truth: {_escaped(conversation['answer'])}*"
            answers.setdefault(row.tree.root_of(completion.prompt), []).append(line)
        cuts = {cut.id: cut for cut in trainer.datamodule.cuts["val"]}  # type: ignore[attr-defined]
        for root in row.tree.roots()[: self.songs]:
            cut: Cut = cuts[row.examples[root]["cut"]].truncate(duration=self.seconds)
            waveform = load_waveform(cut, cut.sampling_rate)
            logger.experiment.add_audio(f"songs/{cut.id}", waveform[None], trainer.global_step, cut.sampling_rate)
            logger.experiment.add_text(f"answers/{cut.id}", "\n\n".join(answers.get(root, [])), trainer.global_step)


def _escaped(text: str) -> str:
    """Tags as text: TensorBoard renders Markdown and would swallow them."""
    return text.replace("<", "&lt;")
