"""A window is encoded once; what is kept belongs to its audio and to the encoder's weights."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import music_flamingo.models.music_flamingo as module
from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models import EncoderCache, MusicFlamingo, MusicLanguageModel
from music_flamingo.models.audio_encoder import audio_token_lengths, encode_windows
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import frontend_of, load_model
from tests.builders import frontend, model_directory, preset_directory, song

SONG = frontend()(song(23.4))
FLAMINGO_2 = "audio-flamingo-2-tiny"


def model(folder: Path, dtype: str = "float32") -> MusicFlamingo:
    built = MusicFlamingo(str(model_directory()), encoder_cache=EncoderCache(str(folder), dtype))  # type: ignore[arg-type]
    built.network.model.audio_tower.requires_grad_(False)
    return built.eval()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Windows that went through the encoder, call by call."""
    calls: list[int] = []

    def counted(encoder: torch.nn.Module, windows: AudioWindows, **settings: bool) -> torch.Tensor:
        calls.append(len(windows))
        return encode_windows(encoder, windows, **settings)  # type: ignore[arg-type]

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


def frozen(directory: Path) -> tuple[MusicLanguageModel, AudioWindows]:
    """A model of any kind, and a song of 3 s: the rest of its window is padding."""
    model = load_model(str(directory)).eval()
    model.network.model.audio_tower.requires_grad_(False)
    return model, frontend_of(ConversationFormat.from_directory(directory).processor)(song(3.0))


def plain_and_kept(model: MusicLanguageModel, windows: AudioWindows, folder: Path) -> tuple[Tensor, Tensor]:
    """What the encoder gives without a cache, and with a new one in a folder."""
    outputs = []
    for cache in (None, EncoderCache(str(folder), "float32")):
        model.encoder_cache = cache  # type: ignore[assignment]
        outputs.append(model.audio_features(windows))
    return outputs[0], outputs[1]


@pytest.mark.parametrize(
    "directory", [model_directory, *(partial(preset_directory, each) for each in ("tinymu-tiny", FLAMINGO_2))]
)
def test_other_padding_is_encoded_anew_by_an_encoder_that_hears_it(
    tmp_path: Path, directory: Callable[[], Path]
) -> None:
    built, windows = frozen(directory())
    padded = windows.features.clone()
    padded[..., int(windows.lengths) + 8 :] += 5
    for each in (windows, replace(windows, features=padded)):
        plain, kept = plain_and_kept(built, each, tmp_path)
        torch.testing.assert_close(kept, plain)


def test_other_statistics_of_a_norm_are_encoded_anew(tmp_path: Path) -> None:
    built, windows = frozen(preset_directory(FLAMINGO_2))
    before, kept = plain_and_kept(built, windows, tmp_path)
    torch.testing.assert_close(kept, before)
    built.network.model.audio_tower.audio_encoder.batch_norm.running_mean.add_(20)
    same_cache = built.audio_features(windows)
    after, new_cache = plain_and_kept(built, windows, tmp_path)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(same_cache, after)
    torch.testing.assert_close(new_cache, after)


def test_an_encoder_that_trains_is_refused(tmp_path: Path) -> None:
    built = model(tmp_path)
    built.network.model.audio_tower.layer_norm.weight.requires_grad_(True)
    with pytest.raises(UserError, match=r"add audio_tower to model\.freeze"):
        built.audio_features(SONG)
