"""A run that is killed ten times, mostly while it writes a checkpoint, ends as the undisturbed one."""

import shutil
from pathlib import Path

import torch

from benchmarks.kill.killing import Killer
from music_flamingo.evaluation.audit import audit
from tests.builders import write_corpus
from tests.test_resume import fit_words, weights

PLACES = ["checkpoint", "anywhere", "checkpoint", "validation", "checkpoint"] * 2


def test_ten_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=7, held_out=2)
    words = fit_words("2_sft.yaml", tmp_path, **{"trainer.max_steps": 60})
    stage = tmp_path / "stage"
    Killer(words, tmp_path / "log").run([])
    expected = weights(stage)
    shutil.rmtree(stage)
    killer = Killer(words, tmp_path / "log")
    assert killer.run(PLACES) == len(PLACES)
    assert killer.inside["checkpoint"] > 0
    assert all(torch.equal(value, expected[name]) for name, value in weights(stage).items())
    *whole_epochs, under_way = audit(stage)
    assert {(each.lost, each.repeated) for each in whole_epochs} == {(0, 0)}
    assert under_way.repeated == 0
