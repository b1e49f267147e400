"""A training step of TinyMU at its published size: 16 clips of ten seconds, packed, against its published layout.

The published layout pads every prompt and every answer to 129 tokens, and gives logits for all of them; its encoder is
frozen and without gradients here too. Weights are random. Each way runs once, in a process of its own.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.measurement import in_own_process, memory_and_seconds
from music_flamingo.batch import AudioWindows, RowBuilder
from music_flamingo.models import TinyMU
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.matpac.frontend import MatpacFrontend
from music_flamingo.models.presets import train_tokenizer
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration, TinyMUProcessor
from music_flamingo.models.tinymu.presets import SPECIAL_TOKENS

CLIPS, SECONDS, SAMPLING_RATE = 16, 10, 16_000
PROMPT, ANSWER = 16, 32
PUBLISHED_LENGTH = 129
MUST = 1.5
Sample = tuple[AudioWindows, Tensor, Tensor]


def claims() -> Iterator[Claim]:
    """Seconds and memory of both."""
    baseline, ours = (in_own_process("benchmarks.speed.tinymu_step", way) for way in ("published", "packed"))
    setting = f"229M parameters, {CLIPS} clips of {SECONDS} s, prompts of {PROMPT}, answers of {ANSWER} tokens"
    seconds = baseline["seconds"], ours["seconds"]
    yield Claim("TinyMU step", setting, "its published layout", *seconds, MUST)
    yield Claim(
        "peak memory of the TinyMU step", setting, "its published layout", *seconds, 1.0, baseline["mib"], ours["mib"]
    )


def main(way: str) -> None:
    """Measure one way in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        model = built(Path(folder))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    clips = samples()
    loss = {"published": published_loss, "packed": packed_loss}[way]
    print(json.dumps(memory_and_seconds(lambda: step(model, optimizer, clips, loss))))


def built(folder: Path) -> TinyMU:
    """Untrained, its encoder frozen."""
    processor = TinyMUProcessor(
        MatpacFeatureExtractor(), train_tokenizer(["words"], 300, SPECIAL_TOKENS, SPECIAL_TOKENS[0])
    )
    processor.save_pretrained(folder)
    TinyMUForConditionalGeneration(TinyMUConfig()).save_pretrained(folder)
    model = TinyMU(str(folder))
    model.network.model.audio_tower.requires_grad_(False)
    return model


def samples() -> list[Sample]:
    """Clips of noise, and words."""
    frontend, rng = MatpacFrontend(MatpacFeatureExtractor()), random.Random(0)
    drawn = []
    for _ in range(CLIPS):
        windows = frontend(torch.randn(SECONDS * SAMPLING_RATE).numpy())
        prompt, answer = (torch.tensor([rng.randrange(100, 49_000) for _ in range(n)]) for n in (PROMPT, ANSWER))
        drawn.append((windows, prompt, answer))
    return drawn


def step(
    model: TinyMU,
    optimizer: torch.optim.Optimizer,
    clips: list[Sample],
    loss: Callable[[TinyMU, list[Sample]], Tensor],
) -> None:
    """Forward, backward and update."""
    loss(model, clips).backward()
    optimizer.step()
    optimizer.zero_grad()


def packed_loss(model: TinyMU, clips: list[Sample]) -> Tensor:
    """One row without padding."""
    row = RowBuilder(model.audio_token_id)
    for windows, prompt, answer in clips:
        placeholders = torch.full((int(windows.tokens.sum()),), model.audio_token_id)
        root = row.add(torch.cat([placeholders, torch.zeros(1, dtype=torch.int64)]), windows=windows)
        row.add(torch.cat([prompt, answer]), parent=root, train_from=len(prompt))
    return -model.target_logprobs(row.build())[0].mean()


def published_loss(model: TinyMU, clips: list[Sample]) -> Tensor:
    """A padded rectangle; labels at the answers."""
    model.network.model.language_model.set_attn_implementation("sdpa")
    rows, masks, labels = [], [], []
    for windows, prompt, answer in clips:
        start = torch.full((int(windows.tokens.sum()),), model.audio_token_id)
        parts = [start, torch.zeros(1, dtype=torch.int64), padded(prompt), padded(answer)]
        rows.append(torch.cat(parts))
        masks.append(torch.cat([torch.ones(len(start) + 1), padded(torch.ones(PROMPT)), padded(torch.ones(ANSWER))]))
        ignored = torch.full((len(rows[-1]) - PUBLISHED_LENGTH,), -100)
        labels.append(torch.cat([ignored, answer, torch.full((PUBLISHED_LENGTH - ANSWER,), -100)]))
    audio = AudioWindows.concatenate([windows for windows, _, _ in clips])
    heard = torch.arange(audio.features.shape[-1]) < audio.lengths[:, None]
    output = model.network(
        input_ids=torch.stack(rows),
        attention_mask=torch.stack(masks).long(),
        input_features=audio.features,
        input_features_mask=heard,
        labels=torch.stack(labels),
    )
    loss: Tensor = output.loss
    return loss


def padded(values: Tensor) -> Tensor:
    """With zeros up to the published length."""
    return torch.nn.functional.pad(values, (0, PUBLISHED_LENGTH - len(values)))


if __name__ == "__main__":
    main(sys.argv[1])
