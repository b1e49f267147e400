"""A window is encoded once; what is kept belongs to its audio and to the encoder's weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import music_flamingo.models.music_flamingo as module
from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models import EncoderCache, MusicFlamingo
from music_flamingo.models.audio_encoder import audio_token_lengths, encode_windows
from tests.builders import frontend, model_directory, song

SONG = frontend()(song(23.4))


def model(folder: Path, dtype: str = "float32") -> MusicFlamingo:
    built = MusicFlamingo(str(model_directory()), encoder_cache=EncoderCache(str(folder), dtype))  # type: ignore[arg-type]
    built.network.model.audio_tower.requires_grad_(False)
    return built.eval()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Windows that went through the encoder, call by call."""
    calls: list[int] = []

    def counted(encoder: torch.nn.Module, windows: AudioWindows) -> torch.Tensor:
        calls.append(len(windows))
        return encode_windows(encoder, windows)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "encode_windows", counted)
    return calls


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_second_visit_reads_what_the_first_computed(
    tmp_path: Path, encoded: list[int], dtype: str, error: float
) -> None:
    built = model(tmp_path, dtype)
    expected = MusicFlamingo(str(model_directory())).eval().audio_features(SONG)
    encoded.clear()
    first = built.audio_features(SONG)
    assert encoded == [1, 1, 1]
    torch.testing.assert_close(first, expected, rtol=0, atol=error)
    assert torch.equal(built.audio_features(SONG), first)
    assert torch.equal(model(tmp_path, dtype).audio_features(SONG), first)
    assert encoded == [1, 1, 1]
    assert built.windows_encoded == 6


def test_the_company_of_a_window_changes_no_digit(tmp_path: Path) -> None:
    last = SONG[2:]
    together = model(tmp_path / "together").audio_features(SONG)
    later = model(tmp_path / "apart")
    alone = later.audio_features(last)
    assert torch.equal(together[-len(alone) :], alone)
    assert torch.equal(later.audio_features(SONG), together)


def test_other_weights_other_audio_and_another_length_are_encoded_anew(tmp_path: Path, encoded: list[int]) -> None:
    built = model(tmp_path)
    built.audio_features(SONG)
    with torch.no_grad():
        built.network.model.audio_tower.layer_norm.weight.mul_(2)
    built.audio_features(SONG)
    assert len(encoded) == 6
    lengths = SONG.lengths - torch.tensor([0, 0, 40])
    shorter = replace(SONG, lengths=lengths, tokens=audio_token_lengths(lengths))
    built.audio_features(shorter)
    assert len(encoded) == 7
    built.audio_features(frontend()(song(5.0, seed=1)))
    assert len(encoded) == 8


def test_an_encoder_that_trains_is_refused(tmp_path: Path) -> None:
    built = model(tmp_path)
    built.network.model.audio_tower.layer_norm.weight.requires_grad_(True)
    with pytest.raises(UserError, match=r"add audio_tower to model\.freeze"):
        built.audio_features(SONG)
