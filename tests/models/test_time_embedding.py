"""The exact rotation is the checkpoint's, but for the rounding of float32 tables; its ablations are as defined."""

import math
from pathlib import Path

import pytest
import torch

from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.models import CheckpointRoTE, ExactRoTE, FrameRoPE, MusicFlamingo, NoTimeEmbedding
from music_flamingo.models.time_embedding import TimeEmbedding, recorded_time_embedding
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


def test_without_a_time_embedding_encoder_outputs_stay() -> None:
    hidden = torch.randn(2, 5, 96)
    assert torch.equal(NoTimeEmbedding().embed(hidden.clone(), torch.tensor([0, 7]), hf_model().model), hidden)


def test_rope_turns_by_the_number_of_the_frame_in_its_song() -> None:
    """A fifth of 96 channels, 19, gives RoTE 10 pairs on either axis, 40 channels; of these k and k + 20 are a pair."""
    hidden = torch.randn(2, 5, 96)
    embedded = FrameRoPE(theta=16.0).embed(hidden, torch.tensor([0, 7]), hf_model().model)
    assert torch.equal(embedded[0, 0], hidden[0, 0])
    assert torch.equal(embedded[..., 40:], hidden[..., 40:])
    number, frame, turned = 7 * 5 + 3, hidden[1, 3], embedded[1, 3]
    for pair, frequency in ((0, 1.0), (5, 0.5), (10, 0.25), (15, 0.125)):
        sin, cos = math.sin(number * frequency), math.cos(number * frequency)
        first, second = float(frame[pair]), float(frame[pair + 20])
        assert float(turned[pair]) == pytest.approx(first * cos - second * sin, abs=1e-5)
        assert float(turned[pair + 20]) == pytest.approx(first * sin + second * cos, abs=1e-5)


def test_rope_keeps_every_frames_norm_and_lets_gradients_through() -> None:
    hidden = torch.randn(3, 6, 96, requires_grad=True)
    embedded = FrameRoPE().embed(hidden, torch.arange(3), hf_model().model)
    torch.testing.assert_close(embedded.norm(dim=-1), hidden.norm(dim=-1))
    (embedded.square().sum() / 2).backward()
    torch.testing.assert_close(hidden.grad, hidden.detach())


@pytest.mark.parametrize(
    ("name", "loaded"),
    [("ExactRoTE", CheckpointRoTE), ("FrameRoPE", FrameRoPE), ("NoTimeEmbedding", NoTimeEmbedding)],
)
def test_a_recipe_names_it_and_what_it_trained_is_loaded_with_it(
    tmp_path: Path, name: str, loaded: type[TimeEmbedding]
) -> None:
    write_corpus(tmp_path / "corpus", train=4, held_out=2)
    recipes = [ROOT / "recipes/songbook/2_sft.yaml", ROOT / "recipes/overrides/debug.yaml"]
    settings = {
        "run.root": tmp_path,
        "run.start": model_directory(),
        "trainer.default_root_dir": tmp_path / "stage",
        "data.corpus": tmp_path / "corpus",
        "data.max_duration": 20,
        "model.init_args.model.init_args.time_embedding.class_path": f"music_flamingo.models.{name}",
    }
    words = [word for recipe in recipes for word in ("--config", str(recipe))]
    assert main(["fit", *words, *(f"--{key}={value}" for key, value in settings.items())]) == 0
    assert type(MusicFlamingo(str(tmp_path / "stage/export")).time_embedding) is loaded


def test_a_recorded_embedding_keeps_its_settings_gives_way_to_a_named_one_and_must_exist(tmp_path: Path) -> None:
    model = MusicFlamingo(str(model_directory()), FrameRoPE(theta=500.0))
    replace_hf_directory(tmp_path / "model", model, str(model_directory()))
    recorded = MusicFlamingo(str(tmp_path / "model")).time_embedding
    assert isinstance(recorded, FrameRoPE)
    assert recorded.theta == 500.0
    again = MusicFlamingo(str(tmp_path / "model"), CheckpointRoTE())
    replace_hf_directory(tmp_path / "again", again, str(model_directory()))
    assert type(MusicFlamingo(str(tmp_path / "again")).time_embedding) is CheckpointRoTE
    again.network.config.time_embedding = {"name": "Clock"}
    with pytest.raises(UserError, match="expected time_embedding.name to be one of .* got 'Clock'"):
        recorded_time_embedding(again.network.config)
