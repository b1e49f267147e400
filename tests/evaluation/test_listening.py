import base64
import io

import numpy as np
import pytest
import soundfile

from music_flamingo.evaluation.corpus_folder import read_corpus
from music_flamingo.evaluation.listening import (
    choose_samples,
    encode_audio,
    find_marks,
    read_clip,
    waveform_path,
)
from music_flamingo.evaluation.prediction import Prediction


@pytest.fixture
def row(builders):
    return lambda **changes: Prediction.from_row(builders.prediction(**changes), "here")


def test_the_worst_come_first_and_the_random_ones_from_the_rest(row):
    rows = [row(conversation=str(n), cut=str(n), reward=float(n)) for n in range(6)]

    samples = choose_samples(rows, each=2)

    assert [sample.prediction.cut for sample in samples[:2]] == ["0", "1"]
    assert [sample.chosen for sample in samples] == ["worst", "worst", "random", "random"]
    assert not {"0", "1"} & {sample.prediction.cut for sample in samples[2:]}


def test_new_clips_are_preferred_to_clips_already_shown(row):
    rows = [row(conversation=f"{cut}{n}", cut=cut, reward=n) for n, cut in enumerate("aaab")]

    samples = choose_samples(rows, each=2)

    assert [sample.prediction.conversation for sample in samples[:2]] == ["a0", "b3"]
    assert {sample.prediction.conversation for sample in samples[2:]} == {"a1", "a2"}


def test_the_choice_is_the_same_every_time(row):
    rows = [row(conversation=str(n), cut=str(n)) for n in range(30)]

    assert choose_samples(rows) == choose_samples(rows)


def test_audio_survives_encoding():
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32) / 2

    uri = encode_audio(tone, 16_000)
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])))

    assert uri.startswith("data:audio/")
    assert rate == 16_000
    assert np.argmax(np.abs(np.fft.rfft(decoded[:16_000]))) == 440


def test_the_waveform_reaches_the_edge_where_it_is_loudest():
    assert waveform_path(np.array([0.0, 0.25, -0.5], np.float32), columns=3) == (
        "M0.5 0.99L1.5 0.49L2.5 1.99L2.5 2.01L1.5 0.51L0.5 1.01Z"
    )


def test_silence_and_nothing_can_be_drawn():
    assert waveform_path(np.zeros(2, np.float32), columns=1) == "M0.5 0.99L0.5 1.01Z"
    assert waveform_path(np.zeros(0, np.float32)) == ""


def test_marks_come_from_the_truth(builders):
    marks = find_marks(builders.custom()["truth"], seconds=2.0)

    assert [(mark.lane, mark.label, mark.share) for mark in marks] == [
        ("enters", "flute", 0.0),
        ("enters", "violin", 0.5),
        ("change", "louder", 0.75),
        ("chord", "G major", 0.25),
    ]


def test_sections_are_marked():
    marks = find_marks({"sections": ["solo", "full"], "section_starts": [0.0, 4.0]}, seconds=8.0)

    assert [(mark.label, mark.share) for mark in marks] == [("solo", 0.0), ("full", 0.5)]


def test_a_long_song_is_shortened_and_says_so(tmp_path, builders):
    corpus = read_corpus(builders.write_corpus(tmp_path, [], [builders.custom()], seconds=61.0))

    clip = read_clip(corpus.test_cuts["clip-0"])

    assert (clip.seconds, clip.shown_seconds) == (61.0, 60.0)


def test_a_clip_whose_audio_is_gone_is_none(tmp_path, builders):
    corpus = read_corpus(builders.write_corpus(tmp_path, [], [builders.custom()]))
    (tmp_path / "audio" / "test" / "clip-0.flac").unlink()

    assert read_clip(corpus.test_cuts["clip-0"]) is None
