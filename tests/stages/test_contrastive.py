import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel

from music_flamingo.batch import PackedBatch, RowOrigin
from music_flamingo.cli import main
from music_flamingo.corpora.songbook.caption_variants import caption_variants
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers, SongbookCaptions
from music_flamingo.models import AFClap
from music_flamingo.models.audio_flamingo_2 import AFClapModel
from music_flamingo.stages import ContrastiveModule, CosineSchedule
from tests.builders import truth, write_corpus
from tests.clap_builders import clap_directory, flamingo_directory

from .contrastive_ranks import train as train_as_a_process

ROOT = Path(__file__).parents[2]
ADAM = partial(torch.optim.AdamW, lr=3e-3)
RECIPES = ("recipes/audio_flamingo_2/0_contrastive.yaml", "recipes/audio_flamingo_2/songbook_0_contrastive.yaml")


def stage(num_positives: int = 2, num_negatives: int = 2, **settings: Any) -> ContrastiveModule:
    captions = SongbookCaptions(num_positives, num_negatives)
    return ContrastiveModule(AFClap(clap_directory()), ADAM, captions, **{"schedule": CosineSchedule(0.0), **settings})


@pytest.fixture
def clips(corpus: Path) -> Callable[..., ConversationDataModule]:
    def build(**settings: Any) -> ConversationDataModule:
        given = {"questions_per_song": 0, "max_duration": 80.0, **settings}
        return ConversationDataModule(str(corpus), flamingo_directory(), DirectAnswers(), **given)

    return build


@pytest.fixture
def row(clips: Callable[..., ConversationDataModule]) -> PackedBatch:
    data = clips()
    data.setup("fit")
    found: PackedBatch = next(iter(data.val_dataloader()))
    return found


def test_the_loss_falls_and_every_parameter_and_statistic_moves(
    clips: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module, losses = stage(), []
    before = {name: each.detach().clone() for name, each in module.state_dict().items()}
    step = module.training_step
    module.training_step = lambda *args: losses.append(step(*args)) or losses[-1]  # type: ignore[method-assign, func-returns-value]
    train(module, clips(), max_steps=12)
    assert losses[-1] < 0.8 * losses[0]
    still = {name for name, each in module.state_dict().items() if torch.equal(each, before[name])}
    assert {name for name in still if "relative_position_index" not in name} == set()
    assert module.model.windows_with_gradient == module.model.windows_encoded == 12 * 8


def test_a_frozen_tower_keeps_its_weights_and_statistics(
    clips: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module = stage(freeze=["audio_tower"])
    before = {name: each.detach().clone() for name, each in module.state_dict().items()}
    train(module, clips(), max_steps=2)
    moved = {name for name, each in module.state_dict().items() if not torch.equal(each, before[name])}
    assert not any("audio_tower" in name for name in moved)
    assert any("audio_projection" in name for name in moved)
    assert any("text_tower" in name for name in moved)


@torch.no_grad()
def test_the_loss_is_the_printed_formula_of_the_captions_of_the_songs(row: PackedBatch) -> None:
    module = stage().eval()
    logged: dict[str, Tensor] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign, assignment]
    module.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign, assignment]
    module.validation_step(row, 0)
    clap = module.model.network
    sums, wrong, beaten, found = torch.zeros(3, 3), torch.zeros(3), [], []
    assert row.audio is not None
    audio = clap.embed_audio(row.audio.features)
    for j in range(3):
        for variant in caption_variants(truth(j), f"val-{j}", num_positives=2, num_negatives=2):
            near = module.model.embed_texts([variant.text])[0] @ audio.T / 0.07
            sums[j] += near.exp()
            false = module.model.embed_texts([each.text for each in variant.negatives]) @ audio[j] / 0.07
            wrong[j] += false.exp().sum()
            beaten.append(bool(near[j] > false.max()))
            found.append(near)
    expected = -(sums.diag() / (wrong + sums.sum(0))).log().mean()
    torch.testing.assert_close(logged["val/loss"], expected, rtol=1e-4, atol=1e-5)
    assert logged["val/told_apart"].item() == pytest.approx(sum(beaten) / 6)
    nearest = torch.stack(found).argmax(0) // 2
    assert logged["val/found"].item() == pytest.approx((nearest == torch.arange(3)).float().mean().item())


@torch.no_grad()
def test_without_negatives_nothing_is_told_apart(row: PackedBatch) -> None:
    module = stage(num_negatives=0).eval()
    logged: dict[str, Tensor] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign, assignment]
    module.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign, assignment]
    module.validation_step(row, 0)
    assert set(logged) == {"val/loss", "val/found"}
    assert logged["val/loss"].isfinite()


def test_from_a_row_that_another_process_has_too_nothing_is_learned(row: PackedBatch) -> None:
    module = stage()
    connector = SimpleNamespace(should_update_logs=True)
    module._trainer = SimpleNamespace(_logger_connector=connector, global_rank=0, strategy=None)  # type: ignore[assignment]
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    module.all_gather = lambda tensor, **_: torch.cat([tensor, torch.full_like(tensor, 1)])[:, None]  # type: ignore[method-assign]
    loss = module.training_step(replace(row, origin=RowOrigin(None, idle=True)), 0)
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_the_temperature_is_kept_from_falling_below_a_hundredth(
    clips: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module = stage()
    nn.init.constant_(module.model.network.log_scale, 9.0)
    train(module, clips(max_duration=20.0), max_steps=1)
    assert module.model.temperature.item() == pytest.approx(0.01)


def test_two_processes_with_unequally_many_clips_train_as_one_does(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=5, held_out=1)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [corpus, clap_directory(), flamingo_directory(), 30, tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "tests.stages.contrastive_ranks", *map(str, words)]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    module = train_as_a_process(str(corpus), clap_directory(), flamingo_directory(), 50, 1, tmp_path)
    assert module.model.windows_encoded == 3 * 5
    expected = dict(module.named_parameters())
    for rank in range(2):
        found = load_file(tmp_path / f"rank{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, parameter in expected.items():
            torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-4, atol=1e-5)
    start = AFClap(clap_directory()).network
    assert not torch.allclose(
        module.model.network.text_projection[0].weight, start.text_projection[0].weight, atol=1e-3
    )


def test_the_recipe_runs_two_steps_and_exports_an_af_clap(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    configs = [ROOT / name for name in (*RECIPES, "recipes/overrides/debug.yaml")]
    settings = {
        "run.start": clap_directory(),
        "run.flamingo": flamingo_directory(),
        "trainer.default_root_dir": tmp_path / "stage",
        "data.corpus": tmp_path / "corpus",
        "data.max_duration": 20,
    }
    words = [word for config in configs for word in ("--config", str(config))]
    assert main(["fit", *words, *(f"--{key}={value}" for key, value in settings.items())]) == 0
    exported = AutoModel.from_pretrained(tmp_path / "stage" / "export", local_files_only=True)
    assert isinstance(exported, AFClapModel)
    before = AFClap(clap_directory()).network.audio_tower.state_dict()
    assert any(not torch.equal(each, before[name]) for name, each in exported.audio_tower.state_dict().items())
    assert AFClap(str(tmp_path / "stage" / "export")).tokenizer.pad_token == "<pad>"
