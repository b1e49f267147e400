"""Supervised fine-tuning on four questions about a song: on one copy of its audio, against a row for each question."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import gradients_of, require_same
from benchmarks.speed.plain import completion_logprobs
from benchmarks.speed.subject import QUESTION_TOKENS, completions, model, prompt_row, song
from music_flamingo.batch import PackedBatch, RowBuilder

NUM_QUESTIONS, LENGTH, NUM_WINDOWS, MUST = 4, 70, 4, 3.3


def claims() -> Iterator[Claim]:
    """Time both ways, whose gradients must agree."""
    prompt = prompt_row(song(NUM_WINDOWS))
    conversations = completions(NUM_QUESTIONS, LENGTH)
    row = on_one_song(prompt, conversations)
    seconds = paired_seconds(
        lambda: four_rows(prompt, conversations),
        lambda: one_row(row),
        repeats=3,
        warm_up=False,
        require_same=require_same,
    )
    setting = f"{NUM_QUESTIONS} questions of {QUESTION_TOKENS + LENGTH} tokens, song of {NUM_WINDOWS * 750}"
    yield Claim("shared-prefix SFT", setting, "a row for each question, transformers' forward", *seconds, MUST)


def on_one_song(prompt: PackedBatch, conversations: Tensor) -> PackedBatch:
    """Questions with their answers as branches of the song."""
    row = RowBuilder(model().audio_token_id)
    root = row.add(prompt.segment_ids(0), windows=prompt.audio)
    for conversation in conversations:
        row.add(torch.cat([prompt.segment_ids(1), conversation]), parent=root, train_from=QUESTION_TOKENS)
    return row.build()


def four_rows(prompt: PackedBatch, conversations: Tensor) -> dict[str, Tensor]:
    """Gradients from a row for each question."""
    return gradients_of(-completion_logprobs(model(), prompt, conversations).mean())


def one_row(row: PackedBatch) -> dict[str, Tensor]:
    """Gradients from one row for all of them."""
    with torch.no_grad():
        features = model().audio_features(row.audio)
    return gradients_of(-model().target_logprobs(row, model().project(features, row))[0].mean())
