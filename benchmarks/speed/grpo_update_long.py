"""The update of a group on a song of ten minutes: its time, and the memory it takes at its peak.

Each way runs once, in a process of its own, as the baseline alone takes minutes.
"""

import json
import sys
from collections.abc import Iterator

import torch

from benchmarks.claim import Claim
from benchmarks.measurement import in_own_process, memory_and_seconds
from benchmarks.speed.grpo_update import GROUP, plain_gradients, shared_gradients
from benchmarks.speed.subject import completions, model, prompt_row, song, with_branches

NUM_WINDOWS, LENGTH = 20, 64


def claims() -> Iterator[Claim]:
    """Measure each way, and see that the norms of their gradients agree."""
    baseline, ours = (in_own_process("benchmarks.speed.grpo_update_long", way) for way in ("plain", "shared"))
    if abs(baseline["gradient"] - ours["gradient"]) > 1e-4 * baseline["gradient"]:
        raise RuntimeError(f"gradients differ: their norms are {baseline['gradient']} and {ours['gradient']}")
    setting = f"G={GROUP}, P={NUM_WINDOWS * 750}, C={LENGTH}, policy only"
    way = "G rows, transformers' forward"
    seconds = baseline["seconds"], ours["seconds"]
    yield Claim("GRPO update, forward and backward", setting, way, *seconds, 4.5)
    yield Claim("peak memory of the GRPO update", setting, way, *seconds, 2.5, baseline["mib"], ours["mib"])


def main(way: str) -> None:
    """Measure one way in this process."""
    torch.set_num_threads(1)
    prompt, branches = prompt_row(song(NUM_WINDOWS)), completions(GROUP, LENGTH)
    row = with_branches(prompt, branches)
    measured = memory_and_seconds(
        lambda: plain_gradients(prompt, branches) if way == "plain" else shared_gradients(row)
    )
    norm = torch.stack([p.grad.norm() for p in model().parameters() if p.grad is not None]).norm()
    print(json.dumps(measured | {"gradient": float(norm)}))


if __name__ == "__main__":
    main(sys.argv[1])
