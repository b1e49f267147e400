"""Trains stages with strategies: run by tests as one process, and as each of two.

    python -m tests.strategies.ranks ROOT 1 sft,auto grpo,auto
    torchrun --nproc-per-node 2 -m tests.strategies.ranks ROOT 2 sft,fsdp sft,ddp,fsdp

A run is a stage and a strategy; with another strategy between them it goes on from the second checkpoint of that one's
run.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.callbacks import BestCheckpoint, GRPOSampling, HFExport, Ledger, RollingCheckpoint
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.losses import DAPOLoss
from music_flamingo.models import LoRA, MusicFlamingo, MusicLanguageModel
from music_flamingo.rewards import Reference, Reward, WeightedReward
from music_flamingo.rollout import Completion, SamplingParameters
from music_flamingo.rollout.rows import with_completions
from music_flamingo.stages import CosineSchedule, GRPOModule, SFTModule
from music_flamingo.stages.answering import AnsweringModule
from music_flamingo.strategies import ContextParallel, FullySharded, ZeRO
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from tests.builders import quiet_trainer

STRATEGIES: dict[str, Any] = {
    "auto": lambda: "auto",
    "ddp": lambda: DDPStrategy(process_group_backend="gloo"),
    "fsdp": FullySharded,
    "context": ContextParallel,
    "replicas": lambda: FullySharded(replicas=2),
    "pairs": lambda: ContextParallel(ranks_per_row=2),
    "zero2": lambda: ZeRO(stage=2),
    "zero3": lambda: ZeRO(stage=3, keep_whole=0),
}


@dataclass(frozen=True)
class Kind:
    """Of training.

    Attributes:
        samples: GRPO, or else SFT.
        accumulated: rows of a step on each rank.
        model: settings of the model.
        freeze: patterns of parameters.
        precision: of the trainer.
    """

    samples: bool = False
    accumulated: int = 1
    model: Mapping[str, Any] = field(default_factory=dict)
    freeze: Sequence[str] = ()
    precision: Any = "32-true"


ADAPTERS: dict[str, Any] = {"lora": LoRA(4, 8, ["q_proj", "v_proj", "up_proj"])}
AUDIO = ["audio_tower", "multi_modal_projector"]
KINDS = {
    "sft": Kind(),
    "grpo": Kind(samples=True),
    "accumulated": Kind(accumulated=2),
    "adapted": Kind(model=ADAPTERS),
    "adapted_grpo": Kind(samples=True, model=ADAPTERS, freeze=AUDIO),
    "recomputed": Kind(model={"recompute_layers_above": 0}),
    "mixed": Kind(precision="bf16-mixed"),
    "mixed_grpo": Kind(samples=True, precision="bf16-mixed"),
}
SHARING = ("context", "pairs")
"""Strategies in which two ranks share a row."""


class EvenLetters(Reward):
    """Something that every group disagrees on."""

    name = "even_letters"

    def __call__(self, completion: str, reference: Reference) -> float:
        return float(len(completion) % 2 == 0)


class PromptSeededEngine:
    """Draws tokens of which only the prompt decides, whichever rank it is on."""

    @torch.no_grad()
    def sample(
        self,
        model: MusicLanguageModel,
        batch: PackedBatch,
        audio: Tensor | None,
        sampling: SamplingParameters,
        end_of_turn: int,
        generator: torch.Generator | None = None,
    ) -> list[Completion]:
        """Completions of three to five tokens."""
        drawn = []
        for prompt in batch.prompts():
            text = bytes(str(batch.segment_ids(prompt).tolist()) + batch.examples[prompt]["cut"], "utf8")
            numbers = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:4], "big"))
            for number in range(sampling.num_generations):
                ids = torch.randint(20, 200, (3 + number % 3,), generator=numbers)
                drawn.append(Completion(prompt, ids, torch.zeros(0), torch.zeros(len(ids)), finished=True))
        row, sequence = with_completions(batch, drawn, model.audio_token_id)
        logprobs, _ = model.target_logprobs(row, temperature=sampling.temperature)
        return [replace(each, logprobs=logprobs[sequence == number]) for number, each in enumerate(drawn)]


class Losses(Callback):
    """The mean of the ranks' losses at each optimizer step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        loss = trainer.callback_metrics["train/loss"].clone()
        self.values.append(float(trainer.strategy.reduce(loss, reduce_op="mean")))


def built_stage(kind: Kind, start: str) -> AnsweringModule:
    """Of SFT or GRPO, with AdamW."""
    adamw = partial(torch.optim.AdamW, lr=1e-3, eps=1e-4)  # rounding's gradients are to make no full steps
    model = MusicFlamingo(start, **kind.model)
    settings: dict[str, Any] = {"schedule": CosineSchedule(0.0), "freeze": kind.freeze}
    if not kind.samples:
        return SFTModule(model, adamw, **settings)
    rewards = [WeightedReward(EvenLetters())]
    sampling = SamplingParameters(max_new_tokens=8, num_generations=5)
    settings |= {"beta": 0.1, "policy_loss": DAPOLoss(), "num_updates": 1, "listening_every": 0}
    return GRPOModule(model, adamw, rewards, sampling, **settings)


def train(name: str, strategy: str, root: Path, folder: str, devices: int, resume: Path | None = None) -> None:
    """Train `root/start` on `root/corpus` for four steps; leave losses.json, every step's checkpoint and an export.

    Runs of the kind sft validate after each step, and keep the best two.
    """
    torch.manual_seed(0)
    kind = KINDS[name]
    start = str(root / "start")
    stage = built_stage(kind, start)
    data = ConversationDataModule(
        str(root / "corpus"),
        start,
        DirectAnswers(["instrument", "drums"], ["open"]),
        questions_per_song=2,
        prompts_only=kind.samples,
        max_duration=40.0 / kind.accumulated / devices * (2 if strategy in SHARING else 1),
        cache_features=False,
    )
    losses = Losses()
    built: Strategy | str = STRATEGIES[strategy]()
    callbacks: list[Callback] = [losses, GRPOSampling(PromptSeededEngine()), RollingCheckpoint(1, keep=100), Ledger()]
    callbacks.append(HFExport(start))
    validation: dict[str, Any] = {}
    if name == "sft":
        callbacks.append(BestCheckpoint("val/loss", "min", keep=2))
        validation = {"limit_val_batches": 1, "val_check_interval": 1, "check_val_every_n_epoch": None}
    trainer = quiet_trainer(
        root / folder,
        strategy=built,
        devices=devices,
        max_steps=4,
        max_epochs=-1,
        callbacks=callbacks,
        enable_checkpointing=True,
        log_every_n_steps=1,
        **validation,
        gradient_clip_val=None if kind.samples else 1.0,
        accumulate_grad_batches=kind.accumulated,
        precision=kind.precision,
    )
    trainer.strategy.checkpoint_io = FolderCheckpointIO()
    trainer.fit(stage, data, ckpt_path=resume, weights_only=True)
    if trainer.is_global_zero:
        (root / folder / "losses.json").write_text(json.dumps(losses.values))
    trainer.strategy.teardown()


def main() -> None:
    """One of the processes: trains one run after the other."""
    root, devices = Path(sys.argv[1]), int(sys.argv[2])
    for run in sys.argv[3:]:
        kind, *before, strategy = run.split(",")
        resume = root / f"{kind}-{before[0]}" / "checkpoints" / "step-00000002.ckpt" if before else None
        train(kind, strategy, root, "-".join([kind, *before, strategy]), devices, resume)


if __name__ == "__main__":
    main()
