"""Two processes that divide a model train as one process does, and any of them goes on from any other's checkpoint."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from music_flamingo.checkpoint_folder import CheckpointFolder, newest_first
from music_flamingo.cli import main
from music_flamingo.evaluation.audit import audit
from music_flamingo.plain_state import tensors_of
from tests.builders import model_directory, write_corpus

# Training takes two minutes, and is to be done by one process of pytest alone.
pytestmark = pytest.mark.xdist_group("strategies")

ROOT = Path(__file__).parents[2]
DEEPSPEED = find_spec("deepspeed") is not None
STRATEGIES = ["ddp", "fsdp", "context", *(["zero2", "zero3"] if DEEPSPEED else [])]
CHANGES = [("fsdp", "ddp"), ("fsdp", "auto"), ("auto", "fsdp"), ("fsdp", "context"), ("context", "auto")]
CHANGES += [("auto", "zero3"), ("zero3", "zero2"), ("zero2", "fsdp")] if DEEPSPEED else []


OTHERS = ["accumulated,fsdp", "adapted,fsdp", "adapted_grpo,fsdp", "recomputed,context"]
FOUR = ["sft,replicas", "grpo,pairs"]
OTHERS += ["adapted,zero2", "adapted_grpo,zero3"] if DEEPSPEED else []
MIXED = ["mixed,fsdp", "mixed_grpo,context"]
MIXED += ["mixed,zero2", "mixed_grpo,zero3"] if DEEPSPEED else []


def train(root: Path, processes: int, runs: list[str]) -> None:
    """Train four steps of each run; see `ranks`."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launcher, "-m", "tests.strategies.ranks", str(root), str(processes), *runs]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, in folders such as `sft-fsdp` and `sft-fsdp-ddp`."""
    root = tmp_path_factory.mktemp("strategies")
    write_corpus(root / "corpus", train=8, held_out=1)
    (root / "start").symlink_to(model_directory())
    kinds = ("sft", "grpo")
    train(root, 1, [f"{kind},auto" for kind in (*kinds, *dict.fromkeys(run.split(",")[0] for run in OTHERS + MIXED))])
    changes = [f"{kind},{before},{after}" for kind in kinds for before, after in CHANGES]
    train(root, 2, [f"{kind},{name}" for kind in kinds for name in STRATEGIES] + OTHERS + MIXED)
    train(root, 4, FOUR)
    train(root, 2, [change for change in changes if not change.endswith("auto")])
    train(root, 1, [change for change in changes if change.endswith("auto")])
    return root


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}.ckpt"


def assert_same_training(run: Path, expected: Path, first_step: int = 1) -> None:
    """Losses, what every later checkpoint holds, and the export."""
    losses = [json.loads((each / "losses.json").read_text()) for each in (run, expected)]
    assert losses[0] == pytest.approx(losses[1][first_step - 1 :], rel=1e-5, abs=1e-6)
    ours, theirs = (dict(tensors_of(CheckpointFolder(checkpoint(each, 4)).state())) for each in (run, expected))
    assert ours.keys() == theirs.keys()
    assert any("exp_avg_sq" in name for name in ours)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6)
    exports = [load_file(each / "export" / "model.safetensors") for each in (run, expected)]
    assert exports[0].keys() == exports[1].keys()
    for name, tensor in exports[1].items():
        torch.testing.assert_close(exports[0][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_as_one_and_leave_its_checkpoints_and_export(strategy: str, kind: str, root: Path) -> None:
    assert_same_training(root / f"{kind}-{strategy}", root / f"{kind}-auto")
    assert {(each.lost, each.repeated) for each in audit(root / f"{kind}-{strategy}")[:1]} == {(0, 0)}


@pytest.mark.parametrize("run", OTHERS + FOUR)
def test_other_settings_and_more_processes_train_as_one_does(run: str, root: Path) -> None:
    """Rows that are accumulated, adapters alone, layers computed again; four ranks, with replicas or in pairs."""
    kind, strategy = run.split(",")
    assert_same_training(root / f"{kind}-{strategy}", root / f"{kind}-auto")


@pytest.mark.parametrize("run", MIXED)
def test_mixed_precision_differs_by_its_rounding(run: str, root: Path) -> None:
    """Losses by .002 where bfloat16 rounds other sums, of 4 to 6; weights hardly."""
    kind, strategy = run.split(",")
    ours, theirs = (json.loads((root / f"{kind}-{each}" / "losses.json").read_text()) for each in (strategy, "auto"))
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)
    start, *ends = (load_file(path / "model.safetensors") for path in exports(root, kind, strategy))
    moved = [torch.cat([(end[name] - start[name]).flatten() for name in end]) for end in ends]
    assert torch.cosine_similarity(moved[0], moved[1], dim=0) > 0.99


def exports(root: Path, kind: str, strategy: str) -> list[Path]:
    """What training started from, and what one process and several made of it."""
    return [root / "start", *(root / f"{kind}-{each}" / "export" for each in ("auto", strategy))]


@pytest.mark.parametrize("folder", ["checkpoints", "best"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_checkpoint_of_two_processes_is_exported_as_their_fit_was(
    strategy: str, folder: str, root: Path, tmp_path: Path
) -> None:
    run = root / f"sft-{strategy}"
    model = {"class_path": "music_flamingo.models.MusicFlamingo", "init_args": {"pretrained": str(root / "start")}}
    stage = {"class_path": "music_flamingo.stages.SFTModule", "init_args": {"model": model}}
    devices = {"default_root_dir": str(run), "devices": 2, "strategy": "ddp"}  # one process exports all the same
    (run / "recipe.yaml").write_text(json.dumps({"model": stage, "trainer": devices}))
    last = run / folder / "step-00000004.ckpt"
    assert len([*last.glob("*.safetensors")]) == (1 if strategy == "ddp" else 2)
    assert main(["export", str(last), "--out", str(tmp_path / "out")]) == 0
    weights = [folder / "model.safetensors" for folder in (tmp_path / "out", run / "export")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("run", ["auto", *STRATEGIES, *("-".join(each) for each in CHANGES)])
def test_the_best_weights_are_kept_of_whatever_processes_and_strategy(run: str, root: Path) -> None:
    kept = newest_first(root / f"sft-{run}" / "best")
    assert [path.name for path in kept] == ["step-00000004.ckpt", "step-00000003.ckpt"]
    for path in kept:
        best, rolling = (CheckpointFolder(each) for each in (path, root / f"sft-{run}" / "checkpoints" / path.name))
        assert {name for name in rolling.tensors if name.startswith("state_dict/")} == best.tensors.keys()
        assert all(torch.equal(best.read(name), rolling.read(name)) for name in best.tensors)
    scores, expected = (json.loads((root / f"sft-{each}/best/scores.json").read_text()) for each in (run, "auto"))
    assert scores["scores"] == pytest.approx(expected["scores"], rel=1e-4)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_another_strategy_goes_on_where_one_was_interrupted(before: str, after: str, kind: str, root: Path) -> None:
    assert_same_training(root / f"{kind}-{before}-{after}", root / f"{kind}-auto", first_step=3)
