"""Two processes train as one does on both their songs, and answer each held-out question once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from music_flamingo.evaluation.audit import audit
from tests.builders import model_directory, write_corpus
from tests.test_resume import fit_words

ROOT = Path(__file__).parents[1]
OVERLAYS = [ROOT / "recipes" / "overrides" / name for name in ("debug.yaml", "ddp.yaml")]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]


def fit_and_test(
    launcher: list[str], recipe: str, root: Path, corpus: Path, **settings: object
) -> list[dict[str, object]]:
    """Run a recipe and return its greedy answers."""
    root.mkdir()
    (root / "corpus").symlink_to(corpus)
    settings |= {
        "run.root": root,
        "run.start": model_directory(),
        "trainer.default_root_dir": root / "stage",
        "data.corpus": root / "corpus",
        # Adam would turn gradients of rounding's size into steps of full size.
        "model.optimizer.class_path": "torch.optim.SGD",
        "model.optimizer.init_args": "{lr: 0.1}",
        "trainer.limit_test_batches": 10,
    }
    recipes = [ROOT / "recipes" / "songbook" / recipe, *OVERLAYS]
    words = [word for path in recipes for word in ("--config", str(path))]
    words += [f"--{key}={value}" for key, value in settings.items()]
    command = [*launcher, str(Path(sys.executable).parent / "music-flamingo"), "fit", "--test", *words]
    done = subprocess.run(
        command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("answers in") == 1
    lines = (root / "stage" / "predictions.jsonl").read_text().splitlines()
    assert not list((root / "stage").glob("*.partial"))
    answers = [json.loads(line) for line in lines]
    greedy = [answer for answer in answers if answer["temperature"] == 0]
    return sorted(greedy, key=lambda answer: str(answer["conversation"]))


@pytest.mark.parametrize(
    ("recipe", "two_songs"), [("2_sft.yaml", {"data.max_tokens": 1450}), ("3_warmup.yaml", {"data.max_duration": 20})]
)
def test_two_processes_equal_one(recipe: str, two_songs: dict[str, int], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=8, held_out=3)
    one = {"data.max_duration": 40, "trainer.devices": 1, "trainer.strategy": "auto"}
    expected = fit_and_test([], recipe, tmp_path / "one", corpus, **one)
    answers = fit_and_test(TWO, recipe, tmp_path / "two", corpus, **two_songs)
    weights = [load_file(tmp_path / run / "stage" / "export" / "model.safetensors") for run in ("one", "two")]
    start = load_file(model_directory() / "model.safetensors")
    assert any(not torch.equal(weights[0][name], start[name]) for name in start)
    for name in start:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-5, atol=1e-6)
    assert len({answer["cut"] for answer in expected}) == 3
    assert [(a["conversation"], a["completion"]) for a in answers] == [
        (a["conversation"], a["completion"]) for a in expected
    ]


def test_no_song_is_lost_or_repeated_where_the_number_of_processes_changes_within_an_epoch(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=11, held_out=2)
    divided = "{class_path: music_flamingo.strategies.FullySharded}"
    for strategy, steps in (("auto", 2), ("ddp", 3), ("auto", 5), (divided, 9)):
        processes = 1 if strategy == "auto" else 2
        (tmp_path / "stage" / "stage.json").unlink(missing_ok=True)  # the fit before was interrupted
        settings = {"trainer.max_steps": steps, "trainer.devices": processes, "trainer.limit_val_batches": 0}
        settings |= {"trainer.strategy": strategy}
        words = fit_words("2_sft.yaml", tmp_path, **settings)
        command = [*TWO[: len(TWO) * (processes > 1)], str(Path(sys.executable).parent / "music-flamingo"), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("going on from" in done.stdout) == (steps > 2)
    epochs = audit(tmp_path / "stage")
    assert len(epochs) >= 3
    assert {(each.lost, each.repeated) for each in epochs[:-1]} == {(0, 0)}
    assert epochs[-1].repeated == 0
