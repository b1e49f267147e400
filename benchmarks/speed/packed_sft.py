"""Supervised fine-tuning on songs of all lengths: one packed row, against padded batches as HF Trainer makes them.

Lengths follow a log-normal of median 180 s, cut to 10 s to 10 min; half of the answers are captions, half are short.
Everything is divided by four. The baseline pads a batch to its longest sample, with an attention mask, and computes
logits of labelled tokens only. HF Trainer draws batches at random, or groups them by length.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from benchmarks.speed.gradients import collected_gradients, gradients_of, require_same
from benchmarks.speed.plain import transformers_attention
from benchmarks.speed.subject import MEL_FRAMES, WORD, model, song
from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.models.audio_encoder import audio_token_lengths

NUM_SAMPLES = 8
CAPTION, SHORT = 150, 8
SETTINGS = [
    (4, "padded random batches, transformers' forward", 2.0),
    (8, "padded random batches, transformers' forward", 2.8),
    (4, "padded batches of similar length, transformers' forward", 1.0),
]
"""Samples of a padded batch, the baseline, and the ratio aimed at."""


@dataclass(frozen=True)
class Sample:
    """A song and its answer."""

    windows: AudioWindows
    prompt: Tensor
    answer: Tensor


def claims() -> Iterator[Claim]:
    """Time both ways, whose gradients must agree."""
    mix = samples()
    tokens = sum(len(sample.prompt) + len(sample.answer) for sample in mix)
    for batch_size, way, must in SETTINGS:
        drawn = sorted(mix, key=lambda s: len(s.prompt) + len(s.answer)) if "similar" in way else mix
        seconds = paired_seconds(
            lambda b=batch_size, d=drawn: padded_gradients(d, b),
            lambda: packed_gradients(mix),
            repeats=1,
            warm_up=False,
            require_same=require_same,
        )
        setting = f"{NUM_SAMPLES} songs, {tokens} tokens, batches of {batch_size}"
        yield Claim("packed SFT", setting, way, *seconds, must)


def samples() -> list[Sample]:
    """The mix, always the same."""
    rng = random.Random(0)
    return [_sample(rng, CAPTION if number % 2 else SHORT) for number in range(NUM_SAMPLES)]


def _sample(rng: random.Random, answer: int) -> Sample:
    seconds = min(max(180 * rng.lognormvariate(0, 0.75), 10), 600) / 4
    frames = int(100 * seconds) // 4 * 4
    whole, rest = divmod(frames, MEL_FRAMES)
    windows = song(whole + bool(rest))
    if rest:
        windows.lengths[-1] = rest
        windows = replace(windows, tokens=audio_token_lengths(windows.lengths))
    placeholders = int(windows.tokens.sum())
    prompt = torch.tensor([WORD, *[model().audio_token_id] * placeholders, WORD])
    return Sample(
        windows, prompt, torch.randint(WORD, 1000, (answer,), generator=torch.Generator().manual_seed(answer))
    )


def padded_gradients(mix: list[Sample], batch_size: int) -> dict[str, Tensor]:
    """Gradients from padded batches, a batch at a time."""
    model().zero_grad()
    for start in range(0, len(mix), batch_size):
        _padded_loss(mix[start : start + batch_size]).backward()
    return collected_gradients()


def _padded_loss(batch: list[Sample]) -> Tensor:
    lengths = [len(sample.prompt) + len(sample.answer) for sample in batch]
    ids = torch.zeros(len(batch), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (sample, length) in enumerate(zip(batch, lengths, strict=True)):
        ids[row, :length] = torch.cat([sample.prompt, sample.answer])
        mask[row, :length] = 1
    frames = torch.arange(MEL_FRAMES)
    features = torch.cat([sample.windows.features for sample in batch])
    audible = torch.cat([(frames < sample.windows.lengths[:, None]).long() for sample in batch])
    with transformers_attention(model()) as network:
        body = network.model(
            input_ids=ids,
            attention_mask=mask,
            input_features=features,
            input_features_mask=audible,
            use_cache=False,
        )
    hidden = body.last_hidden_state
    loss = torch.zeros(())
    for row, (sample, length) in enumerate(zip(batch, lengths, strict=True)):
        logits = network.lm_head(hidden[row, length - len(sample.answer) - 1 : length - 1])
        loss = loss - logits.log_softmax(-1).gather(-1, sample.answer[:, None]).sum()
    return loss


def packed_gradients(mix: list[Sample]) -> dict[str, Tensor]:
    """Gradients from one row of all samples."""
    row = packed(mix)
    with torch.no_grad():
        features = model().audio_features(row.audio)
    return gradients_of(-model().target_logprobs(row, features)[0].sum())


def packed(mix: list[Sample]) -> PackedBatch:
    """One root for each sample."""
    row = RowBuilder(model().audio_token_id)
    for sample in mix:
        row.add(torch.cat([sample.prompt, sample.answer]), windows=sample.windows, train_from=len(sample.prompt))
    return row.build()
