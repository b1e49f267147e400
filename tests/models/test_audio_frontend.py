import numpy as np
import pytest
import torch

from music_flamingo.errors import UserError
from tests.builders import frontend, processor, song


def test_windows_heard_one_by_one_are_those_transformers_makes_of_all_at_once() -> None:
    waveform = song(25.3)
    blocks = [waveform[start : start + 160_000] for start in range(0, len(waveform), 160_000)]
    theirs = processor().feature_extractor(
        blocks, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt", padding="max_length"
    )
    for windows in (frontend()(waveform), frontend().windows_of(iter(blocks), 3)):
        assert torch.equal(windows.features, theirs["input_features"])
        assert windows.lengths.tolist() == theirs["attention_mask"].sum(-1).tolist() == [1000, 1000, 530]
        assert windows.indices.tolist() == [0, 1, 2]


def test_a_rest_too_short_for_an_embedding_is_not_heard_but_a_song_may_not_be_one() -> None:
    assert frontend()(song(10.039)).lengths.tolist() == [1000]
    assert frontend()(song(10.040)).lengths.tolist() == [1000, 4]
    with pytest.raises(UserError, match="expected at least 40 ms of audio, got 639 samples at 16000 Hz"):
        frontend()(np.zeros(639, np.float32))
    with pytest.raises(UserError, match="expected at least 40 ms of audio, got none"):
        frontend()(np.zeros(0, np.float32))
