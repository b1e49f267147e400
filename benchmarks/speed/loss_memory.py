"""Memory of the loss at Qwen2.5's vocabulary: the head in chunks over labelled rows, against logits of every token.

The baseline is what transformers computes for `labels=`: all logits in float32, then the mean cross entropy.
"""

import json
import sys
from collections.abc import Iterator

import torch
from torch.nn.functional import cross_entropy

from benchmarks.claim import Claim
from benchmarks.measurement import in_own_process, memory_and_seconds
from music_flamingo.batch import IGNORE_INDEX
from music_flamingo.kernels.linear_cross_entropy import token_logprobs

VOCABULARY, WIDTH, NUM_TOKENS, NUM_LABELLED = 152_064, 512, 3000, 600


def claims() -> Iterator[Claim]:
    """Measure each way in a process of its own, and see that their gradients agree."""
    baseline, ours = (in_own_process("benchmarks.speed.loss_memory", way) for way in ("baseline", "ours"))
    if abs(baseline["gradient"] - ours["gradient"]) > 1e-4 * baseline["gradient"]:
        raise RuntimeError(f"gradients differ: their norms are {baseline['gradient']} and {ours['gradient']}")
    setting = f"V={VOCABULARY}, D={WIDTH}, {NUM_TOKENS} tokens, {NUM_LABELLED} labelled"
    seconds = baseline["seconds"], ours["seconds"]
    yield Claim("peak memory of the loss", setting, "all logits", *seconds, 12, baseline["mib"], ours["mib"])


def main(way: str) -> None:
    """Measure one way in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(NUM_TOKENS, WIDTH, requires_grad=True)
    # In place: a copy made on the way would count as memory held before, and hide as much of what comes after.
    weight = torch.empty(VOCABULARY, WIDTH).normal_(std=0.02).requires_grad_()
    labels = torch.full((NUM_TOKENS,), IGNORE_INDEX)
    labels[-NUM_LABELLED:] = torch.randint(VOCABULARY, (NUM_LABELLED,))

    def baseline() -> None:
        cross_entropy((hidden @ weight.T).float(), labels).backward()

    def ours() -> None:
        labelled = labels != IGNORE_INDEX
        logprobs, _ = token_logprobs(hidden[labelled], weight, labels[labelled])
        (-logprobs.mean()).backward()

    measured = memory_and_seconds(baseline if way == "baseline" else ours)
    print(json.dumps(measured | {"gradient": float(weight.grad.norm())}))  # type: ignore[union-attr]


if __name__ == "__main__":
    main(sys.argv[1])
