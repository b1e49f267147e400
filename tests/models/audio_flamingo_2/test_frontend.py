import numpy as np
import pytest
import torch

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.frontend import AFClapFrontend
from tests.builders import song


@pytest.mark.parametrize("seconds", [0.02, 9.99, 10.0, 23.456])
def test_blocks_of_a_song_become_the_windows_of_the_whole(seconds: float) -> None:
    waveform = song(seconds)
    extractor = AFClapFeatureExtractor()
    frontend = AFClapFrontend(extractor)
    expected, windows = extractor(waveform, 16_000), frontend(waveform)
    np.testing.assert_array_equal(windows.features, expected["input_features"])
    assert windows.lengths.tolist() == expected["attention_mask"].sum(1).tolist()
    assert frontend.mel_lengths(len(waveform)).tolist() == windows.lengths.tolist()
    assert windows.lengths.sum() == -(-len(waveform) // 160)


def test_one_token_of_the_row_stands_for_all_windows_of_a_song() -> None:
    assert AFClapFrontend(AFClapFeatureExtractor())(song(21.0)).tokens.tolist() == [1, 0, 0]
    assert AFClapFrontend(AFClapFeatureExtractor()).token_lengths(torch.tensor([7])).tolist() == [1]


def test_more_windows_than_the_model_hears_and_no_sound_at_all_are_refused() -> None:
    with pytest.raises(UserError, match=r"at most 10 s of audio \(1 windows\), got 11\.0 s"):
        AFClapFrontend(AFClapFeatureExtractor(max_windows=1))(song(11.0))
    with pytest.raises(UserError, match="got 0 samples"):
        AFClapFrontend(AFClapFeatureExtractor())(song(1.0)[:0])
