"""Supervised fine-tuning on four questions about a song: on one copy of its audio, against a row for each question.

The encoder is frozen; each row of the baseline hears its copy of the song, as its processor gives it.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import gradients_of, require_same
from benchmarks.speed.plain import last_logprobs
from benchmarks.speed.subject import QUESTION_TOKENS, chat, completions, model
from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.models.model_kinds import frontend_of
from music_flamingo.models.music_language_model import MusicLanguageModel

NUM_QUESTIONS, LENGTH, SAMPLING_RATE = 4, 70, 16_000
SETTINGS = [
    ("small", 120, 3.3),
    ("tinymu-tiny", 120, 3.0),
    ("tinymu-tiny", 240, 3.0),
    ("audio-flamingo-2-tiny", 120, 3.0),
    ("audio-flamingo-2-tiny", 240, 3.0),
]
"""Presets, seconds of the song, and the ratio aimed at. TinyMU's and Audio Flamingo 2's songs have a quarter of Music
Flamingo's audio tokens."""

Samples = npt.NDArray[np.float32]


def claims() -> Iterator[Claim]:
    """Time both ways, whose gradients must agree."""
    for preset, song_seconds, must in SETTINGS:
        subject, song = model(preset), noise(song_seconds)
        row, audio = on_one_song(preset, song), copies_of_song(preset, song)
        require_same(*gradients_in_double(subject, row, audio))
        seconds = paired_seconds(
            lambda m=subject, r=row, a=audio: four_rows(m, r, a),
            lambda m=subject, r=row: one_row(m, r),
            repeats=3,
            warm_up=False,
        )
        with torch.no_grad():
            heard = len(subject.encode_audio(row))
        asked = f"{NUM_QUESTIONS} questions of {QUESTION_TOKENS + LENGTH} tokens"
        setting = f"{preset}, {asked}, song of {heard} ({song_seconds} s)"
        yield Claim("shared-prefix SFT", setting, "a row for each question, transformers' forward", *seconds, must)


def noise(seconds: int) -> Samples:
    """A song."""
    return np.random.default_rng(0).normal(scale=0.1, size=seconds * SAMPLING_RATE).astype(np.float32)


def on_one_song(preset: str, song: Samples) -> PackedBatch:
    """Questions with their answers as branches of the song."""
    form = chat(preset)
    windows = frontend_of(form.processor)(song)
    row = RowBuilder(model(preset).audio_token_id)
    root = row.add(form.song_ids(windows), windows=windows)
    for conversation in completions(NUM_QUESTIONS, QUESTION_TOKENS + LENGTH):
        row.add(conversation, parent=root, train_from=QUESTION_TOKENS)
    return row.build()


def copies_of_song(preset: str, song: Samples) -> dict[str, Tensor]:
    """What the network hears, once for each question."""
    form = chat(preset)
    text = form.processor.audio_token.join(form.around_audio(""))
    inputs = form.processor(text=[text] * NUM_QUESTIONS, audio=[song] * NUM_QUESTIONS)
    return {name: each for name, each in inputs.items() if name not in {"input_ids", "attention_mask"}}


def gradients_in_double(
    subject: MusicLanguageModel, row: PackedBatch, audio: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both ways' in float64: what an untrained model learns of where to listen is little more than float32 rounds."""
    double = deepcopy(subject).double()
    windows = replace(row.audio, features=row.audio.features.double())  # type: ignore[type-var]
    doubled = {name: each.double() if each.is_floating_point() else each for name, each in audio.items()}
    return four_rows(double, row, doubled), one_row(double, replace(row, audio=windows))


def four_rows(subject: MusicLanguageModel, row: PackedBatch, audio: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients from a row for each question."""
    song, *conversations = (row.segment_ids(segment) for segment in range(len(row.tree.lengths)))
    ids = torch.stack([torch.cat([song, each]) for each in conversations])
    return gradients_of(-last_logprobs(subject, ids, audio, LENGTH).mean(), subject)


def one_row(subject: MusicLanguageModel, row: PackedBatch) -> dict[str, Tensor]:
    """Gradients from one row for all of them."""
    return gradients_of(-subject.target_logprobs(row)[0].mean(), subject)
