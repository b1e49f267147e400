"""Songs that an encoder or a processor of ours cannot hear as they are given."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.song_samples import mono_samples
from tests.builders import song
from tests.models.test_packed_rows import PRESETS, directory

EXTRACTORS = {"AF-CLAP": AFClapFeatureExtractor(), "MATPAC\\+\\+": MatpacFeatureExtractor()}
RATE = 16_000


def with_one(value: float) -> Any:
    samples = song(0.1)
    samples[7] = value
    return samples


@pytest.mark.parametrize("listener", EXTRACTORS)
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 800), np.float32), r"one channel of floats \(S,\), got float32 \(2, 800\): mix the channels"),
        (torch.zeros(800, 2), r"one channel of floats \(S,\), got float32 \(800, 2\): mix the channels"),
        (np.zeros(800, np.int16), r"one channel of floats \(S,\), got int16 \(800,\): mix .* scale integers to betw"),
        (with_one(np.nan), "finite samples, got 1 of 1600 that are NaN or infinite: repair or leave out the song"),
        (with_one(-np.inf), "finite samples, got 1 of 1600 that are NaN or infinite: repair or leave out the song"),
    ],
)
def test_samples_that_would_be_misheard_are_refused_in_one_line(listener: str, samples: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{listener} hears {message}") as refused:
        EXTRACTORS[listener](samples, RATE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width_are_given_on(dtype: Any) -> None:
    samples = song(0.1).astype(dtype)
    np.testing.assert_array_equal(mono_samples(samples, RATE, RATE, "nobody").numpy(), samples)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_processor_takes_songs_as_long_as_it_says_and_shortens_no_longer_one(preset: str) -> None:
    processor = AutoProcessor.from_pretrained(directory(preset))
    processor.max_audio_len = 2
    texts = [processor.audio_token] * 2
    inputs = processor(text=texts, audio=[song(1.0), song(2.0)])
    assert len(inputs["input_ids"]) == 2
    message = r"^audio 1: expected at most 2 s \(max_audio_len in processor_config.json\), got 2\.1 s: cut the song"
    with pytest.raises(UserError, match=message):
        processor(text=texts, audio=[song(1.0), song(2.1)])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_processor_refuses_stereo_and_integers_too(preset: str) -> None:
    processor = AutoProcessor.from_pretrained(directory(preset))
    for samples in (np.zeros((2, 8000), np.float32), np.zeros(8000, np.int16)):
        with pytest.raises(UserError, match=r"hears one channel of floats \(S,\)"):
            processor(text=[processor.audio_token], audio=[samples])
