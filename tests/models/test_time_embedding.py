"""The exact rotation is the checkpoint's, but for the rounding of float32 tables."""

from pathlib import Path

import pytest
import torch

from music_flamingo.cli import main
from music_flamingo.models import CheckpointRoTE, ExactRoTE
from tests.builders import frontend, hf_model, model_directory, song, tiny_model, write_corpus

ROOT = Path(__file__).parents[2]


def test_both_embeddings_turn_a_song_of_four_windows_alike() -> None:
    model, windows = tiny_model(), frontend()(song(35.0))
    assert len(windows) == 4
    assert isinstance(model.time_embedding, CheckpointRoTE)
    with torch.no_grad():
        expected = model.audio_features(windows)
        model.time_embedding = ExactRoTE()
        exact = model.audio_features(windows)
    assert float((exact - expected).norm() / expected.norm()) < 1e-3
    assert not torch.equal(exact, expected)


@pytest.mark.parametrize("head_dim", [None, 1280])
def test_the_constants_are_the_configurations(head_dim: int | None) -> None:
    body = hf_model().model
    width = 96
    if head_dim:
        body.config.head_dim = width = head_dim
        body.pos_emb = type(body.pos_emb)(body.config)
    windows = torch.tensor([0, 1])
    hidden = torch.randn(2, 250, width)
    expected = CheckpointRoTE().embed(hidden, windows, body)
    torch.testing.assert_close(ExactRoTE().embed(hidden, windows, body), expected, rtol=0, atol=5e-3)


def test_a_recipe_names_it(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    recipes = [ROOT / "recipes/songbook/2_sft.yaml", ROOT / "recipes/overrides/debug.yaml"]
    settings = {
        "run.root": tmp_path,
        "run.start": model_directory(),
        "trainer.default_root_dir": tmp_path / "stage",
        "data.corpus": tmp_path / "corpus",
        "data.max_duration": 20,
        "model.init_args.model.init_args.time_embedding.class_path": "music_flamingo.models.ExactRoTE",
    }
    words = [word for recipe in recipes for word in ("--config", str(recipe))]
    assert main(["fit", *words, *(f"--{key}={value}" for key, value in settings.items())]) == 0
