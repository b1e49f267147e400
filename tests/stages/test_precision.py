"""bf16-mixed trains every stage as float32 does; half precision throughout is refused."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from music_flamingo.callbacks import GRPOSampling
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers, SongbookCaptions
from music_flamingo.errors import UserError
from music_flamingo.models import AFClap
from music_flamingo.models.model_kinds import load_model
from music_flamingo.rewards import WeightedReward
from music_flamingo.rollout import SamplingParameters
from music_flamingo.stages import ContrastiveModule, CosineSchedule, GRPOModule, SFTModule, TaggingModule, WarmupModule
from music_flamingo.stages.training_stage import TrainingStage
from tests.builders import model_directory, preset_directory, quiet_trainer, write_corpus
from tests.clap_builders import clap_directory, flamingo_directory
from tests.stages.test_grpo import EvenLetters

ADAM = partial(torch.optim.AdamW, lr=1e-3)
CONSTANT = CosineSchedule(0.0)
SYSTEMS = {
    "music-flamingo": model_directory,
    "tinymu": partial(preset_directory, "tinymu-tiny"),
    "audio-flamingo-2": partial(preset_directory, "audio-flamingo-2-tiny"),
}


@pytest.fixture(scope="module")
def two_songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("two-songs"), train=2, held_out=1, seconds=4.0)


def tagging(directory: str) -> TrainingStage:
    tags = {"drums": ["True", "False"], "texture": ["solo", "duet", "full"]}
    return TaggingModule(load_model(directory), ADAM, tags, CONSTANT)


def sft(directory: str) -> TrainingStage:
    return SFTModule(load_model(directory), ADAM, schedule=CONSTANT)


def warmup(directory: str) -> TrainingStage:
    return WarmupModule(load_model(directory), ADAM, schedule=CONSTANT)


def grpo(directory: str) -> TrainingStage:
    sampling = SamplingParameters(max_new_tokens=4, num_generations=4)
    settings: dict[str, Any] = {"beta": 0.1, "num_updates": 2, "listening_every": 4, "freeze": ["audio_tower"]}
    return GRPOModule(load_model(directory), ADAM, [WeightedReward(EvenLetters())], sampling, **settings)


def contrastive(directory: str) -> TrainingStage:
    return ContrastiveModule(AFClap(clap_directory()), ADAM, SongbookCaptions(2, 2), CONSTANT)


class Watch(Callback):
    """What a run is like, step by step: its loss, of GRPO the entropy, and the gradients of the first step."""

    def __init__(self, quantity: str) -> None:
        self.quantity = quantity
        self.values: list[float] = []
        self.gradients: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        gradients = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}
        assert all(bool(each.isfinite().all()) for each in gradients.values())
        self.gradients = self.gradients or gradients

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.values.append(float(trainer.callback_metrics[self.quantity]))


def watched(build: Callable[[str], TrainingStage], directory: str, corpus: Path, precision: Any, folder: Path) -> Watch:
    """Two steps of a stage."""
    torch.manual_seed(0)
    stage = build(directory)
    stage.on_fit_start = stage.eval  # type: ignore[method-assign]  # without dropout, to be compared
    watch = Watch("train/entropy" if build is grpo else "train/loss")
    data = ConversationDataModule(
        str(corpus),
        directory,
        DirectAnswers(["drums", "tempo"], ["open"]),
        questions_per_song=0 if build in (tagging, contrastive) else 2,
        prompts_only=build is grpo,
        max_duration=8.0,
    )
    trainer = quiet_trainer(
        folder,
        precision=precision,
        max_steps=4 if build is grpo else 2,  # two rollouts of two updates
        callbacks=[watch, GRPOSampling()] if build is grpo else [watch],
        limit_val_batches=int(build is warmup),
    )
    trainer.fit(stage, data)
    assert {each.dtype for each in stage.state_dict().values() if each.is_floating_point()} == {torch.float32}
    return watch


STAGES: list[tuple[Callable[[str], TrainingStage], str]] = [
    *((build, system) for build in (tagging, sft, grpo) for system in SYSTEMS),
    (warmup, "music-flamingo"),  # trains as sft does, and samples in validation
    (contrastive, "af-clap"),
]


@pytest.mark.parametrize(("build", "system"), STAGES, ids=lambda each: getattr(each, "__name__", each))
def test_two_steps_in_mixed_precision_are_as_in_float32(
    build: Callable[[str], TrainingStage], system: str, two_songs: Path, tmp_path: Path
) -> None:
    directory = str(SYSTEMS[system]()) if system in SYSTEMS else flamingo_directory()
    single, mixed = (
        watched(build, directory, two_songs, precision, tmp_path) for precision in ("32-true", "bf16-mixed")
    )
    assert mixed.values == pytest.approx(single.values, rel=0.03)
    assert mixed.gradients.keys() == single.gradients.keys()
    flat = [torch.cat([watch.gradients[n].flatten() for n in single.gradients]) for watch in (single, mixed)]
    if build is not grpo:  # whose samples differ as soon as a number is rounded past a random one
        assert (flat[1] - flat[0]).norm() < 0.05 * flat[0].norm()


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_another_precision_is_refused_in_one_line(precision: Any, verb: str, two_songs: Path, tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, precision=precision, max_steps=1)
    data = ConversationDataModule(str(two_songs), str(model_directory()), DirectAnswers())
    with pytest.raises(UserError, match=rf"^trainer\.precision: .* got {precision}: use bf16-mixed, [^\n]*$"):
        getattr(trainer, verb)(sft(str(model_directory())), data)
