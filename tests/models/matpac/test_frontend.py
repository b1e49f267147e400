import numpy as np
import pytest

from music_flamingo.errors import UserError
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.matpac.frontend import MatpacFrontend
from tests.builders import song


@pytest.mark.parametrize("seconds", [0.025, 0.5, 9.92, 9.94, 23.0])
def test_blocks_of_a_song_become_the_windows_of_the_whole(seconds: float) -> None:
    waveform = song(seconds)
    extractor = MatpacFeatureExtractor()
    frontend = MatpacFrontend(extractor)
    expected, windows = extractor(waveform, 16_000), frontend(waveform)
    np.testing.assert_allclose(windows.features, expected["input_features"], rtol=0, atol=1e-5)
    assert windows.lengths.tolist() == expected["attention_mask"].sum(1).tolist()
    assert frontend.mel_lengths(len(waveform)).tolist() == windows.lengths.tolist()
    assert windows.tokens.tolist() == [-(-length // 16) for length in windows.lengths.tolist()]
    with pytest.raises(UserError, match="at least 400 samples"):
        frontend(waveform[:399])
