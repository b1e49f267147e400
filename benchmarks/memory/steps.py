"""Peak memory of real steps on the CPU, of `SFTModule` in Lightning's loop and of rollouts, and what the plan says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.profiler import record_function
from torch.utils.data import DataLoader

from benchmarks.memory.allocated import WATCHED, memory_profile, peak_bytes, storage_bytes
from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.data_modules.song_packing import RowLimits
from music_flamingo.models import LoRA, MusicFlamingo
from music_flamingo.models.audio_encoder import audio_token_lengths
from music_flamingo.models.cost_model import row_workload
from music_flamingo.new_model import BUILDERS
from music_flamingo.planning.asked import Asked
from music_flamingo.planning.memory import Moment, fullest, rollout_moments
from music_flamingo.planning.planned import NOTHING_HELD, PlannedRow, moments_of, sized
from music_flamingo.planning.rows import Rollout
from music_flamingo.planning.sharding import Replicated
from music_flamingo.rollout import SamplingParameters, SharedEngine
from music_flamingo.stages import CosineSchedule, SFTModule

WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "bdfgklmnprst"]
WORD, QUESTION_TOKENS, NO_END = 10, 16, -1


@dataclass(frozen=True)
class Setting:
    """A step to measure.

    Attributes:
        directory: of the model.
        windows: of the row's song.
        questions: on it.
        answer_tokens: of each answer; in a rollout of each completion.
        completions: of each question in a rollout.
        freeze: patterns of parameters.
        recompute_above: see `MusicFlamingo`.
        recompute_layers_above: likewise.
        precision: of the trainer.
        lora: adapters.
    """

    directory: Path
    windows: int
    questions: int = 3
    answer_tokens: int = 40
    completions: int = 5
    freeze: Sequence[str] = ("audio_tower",)
    recompute_above: int | None = None
    recompute_layers_above: int | None = None
    precision: str = "32-true"
    lora: LoRA | None = None

    @property
    def is_fused(self) -> bool:
        """Lightning refuses to clip gradients of a fused optimizer in mixed precision."""
        return self.precision == "32-true"


@dataclass(frozen=True)
class Compared:
    """Bytes of a step at its peak."""

    measured: int
    planned: Moment
    tokens: int

    @property
    def ratio(self) -> float:
        return self.planned.total / self.measured


class _PeakOfSecondStep(Callback):
    """Of the second step: the optimizer's moments and the first step's gradients are there by then."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = storage_bytes([*pl_module.parameters(), *pl_module.buffers()])
        self.profile = memory_profile()
        self.profile.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.mark = record_function(WATCHED)
            self.mark.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 1:
            self.mark.__exit__(None, None, None)
            self.profile.stop()


def untrained(preset: str, folder: Path) -> Path:
    """A model and its processor in a new folder below this one."""
    torch.manual_seed(0)
    network, processor = BUILDERS[preset](preset, WORDS)
    network.save_pretrained(folder / preset)
    processor.save_pretrained(folder / preset)
    return folder / preset


def training_step(setting: Setting, folder: Path) -> Compared:
    """The second of two steps on a row of noise.

    Args:
        setting: of it.
        folder: for what the trainer writes.
    """
    torch.manual_seed(0)
    above = setting.recompute_above, setting.recompute_layers_above
    model = MusicFlamingo(str(setting.directory), None, None, *above, lora=setting.lora)
    optimizer = partial(torch.optim.AdamW, lr=1e-3, fused=setting.is_fused)
    stage = SFTModule(model, optimizer, freeze=setting.freeze, schedule=CosineSchedule(0.0))
    row = noise_row(model, setting, answered=True)
    peak = _PeakOfSecondStep()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        precision=setting.precision,  # type: ignore[arg-type]
        max_steps=2,
        gradient_clip_val=1.0,
        callbacks=[peak],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(stage, DataLoader([row, row], batch_size=None))  # type: ignore[arg-type]
    measured = peak.weights + peak_bytes(peak.profile) + _song_bytes(row)
    return Compared(measured, fullest(planned_moments(setting, row)), row.tree.num_tokens)


def planned_moments(setting: Setting, row: PackedBatch) -> list[Moment]:
    """What the plan says of the step."""
    asked = _asked(setting)
    work = row_workload(row)
    return moments_of(sized(asked, on_cpu=True), PlannedRow(0.0, 1, work, work), asked, Replicated())


@torch.no_grad()
def rollout(setting: Setting) -> Compared:
    """Completions of a row's prompts, none of which ends early; weights count on neither side."""
    torch.manual_seed(0)
    model = MusicFlamingo(str(setting.directory)).eval()
    row = noise_row(model, setting, answered=False)
    audio = model.encode_audio(row)
    sampling = SamplingParameters(setting.answer_tokens, 1.0, setting.completions)
    mixed = setting.precision != "32-true"
    with memory_profile() as recorded, torch.autocast("cpu", torch.bfloat16, enabled=mixed), record_function(WATCHED):
        SharedEngine().sample(model, row, audio, sampling, NO_END)
    measured = peak_bytes(recorded) + _song_bytes(row) + audio.nbytes
    size = sized(_asked(replace(setting, freeze=())), on_cpu=True)
    step, states = size.step, NOTHING_HELD
    if step is None:
        raise RuntimeError("expected a Music Flamingo")
    if mixed:
        states = replace(states, rounded=2.0 * (size.parameters["layers"].matrices + size.parameters["head"].matrices))
    planned = Rollout(
        row_workload(row),
        1,
        row.tree.lengths[0],
        setting.questions,
        QUESTION_TOKENS,
        setting.completions,
        setting.answer_tokens,
    )
    return Compared(measured, fullest(rollout_moments(step, states, planned)), row.tree.num_tokens)


def noise_row(model: MusicFlamingo, setting: Setting, *, answered: bool) -> PackedBatch:
    """A song of noise in full windows, and questions of one word."""
    audio: Any = model.network.config.audio_config
    frames = torch.full((setting.windows,), 2 * audio.max_source_positions)
    tokens = audio_token_lengths(frames)
    mel = torch.randn(setting.windows, audio.num_mel_bins, int(frames[0]))
    windows = AudioWindows(mel, frames, torch.arange(setting.windows), tokens)
    row = RowBuilder(model.audio_token_id)
    song = row.add([WORD, *[model.audio_token_id] * int(tokens.sum()), WORD], windows=windows)
    for _ in range(setting.questions):
        answer = setting.answer_tokens if answered else 0
        row.add([WORD] * (QUESTION_TOKENS + answer), parent=song, train_from=QUESTION_TOKENS if answered else None)
    return row.build()


def _song_bytes(row: PackedBatch) -> int:
    return 0 if row.audio is None else row.audio.features.nbytes


def _asked(setting: Setting) -> Asked:
    return Asked(
        start=str(setting.directory),
        samples=False,
        keeps_reference=False,
        freeze=tuple(setting.freeze),
        lora=setting.lora,
        recompute_above=setting.recompute_above,
        recompute_layers_above=setting.recompute_layers_above,
        sampling=SamplingParameters(),
        moments=8,
        # On a CPU, AdamW that is not fused goes from tensor to tensor, and allocates no more than for one.
        is_fused=True,
        precision=setting.precision,
        strategy="auto",
        accumulated=1,
        max_steps=2,
        limits=RowLimits(),
        longest_song=1200.0,
        questions=setting.questions,
        blend=None,
    )
