"""Rows made from rows: prompts without their answers, prompts with completions, prompts on another song."""

from collections.abc import Sequence

import torch
from torch import Tensor

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.rollout.sampling import Completion


def without_answers(batch: PackedBatch, audio_token_id: int) -> PackedBatch:
    """The row's prompts: every trained segment ends before its first trained token."""
    first_trained: dict[int, int] = {}
    starts = batch.tree.starts
    for position, segment in zip(batch.targets.positions.tolist(), batch.targets.segments.tolist(), strict=True):
        first_trained.setdefault(segment, position + 1 - starts[segment])
    row = RowBuilder(audio_token_id)
    for segment, parent in enumerate(batch.tree.parents):
        ids = batch.segment_ids(segment)[: first_trained.get(segment)]
        row.add(ids, parent=parent, windows=_windows_of(batch, segment), example=batch.examples[segment])
    return row.build()


def with_completions(
    batch: PackedBatch, completions: Sequence[Completion], audio_token_id: int
) -> tuple[PackedBatch, Tensor]:
    """A row in which each prompt's completions are its branches, all their tokens trained.

    Returns:
        The row, and (T,) int64: which completion each trained token belongs to.
    """
    row = RowBuilder(audio_token_id)
    of_prompt: dict[int, list[int]] = {}
    for number, completion in enumerate(completions):
        of_prompt.setdefault(completion.prompt, []).append(number)
    moved: dict[int, int] = {-1: -1}
    numbers: dict[int, int] = {}
    for segment, parent in enumerate(batch.tree.parents):
        moved[segment] = row.add(
            batch.segment_ids(segment),
            parent=moved[parent],
            windows=_windows_of(batch, segment),
            example=batch.examples[segment],
        )
        for number in of_prompt.get(segment, []):
            branch = row.add(completions[number].token_ids, parent=moved[segment], train_from=0, sampled=True)
            numbers[branch] = number
    built = row.build()
    return built, torch.tensor([numbers[s] for s in built.targets.segments.tolist()], dtype=torch.int64)


def on_other_songs(batch: PackedBatch, audio_token_id: int) -> PackedBatch:
    """The same prompts, each on another song.

    It is the next song of the row that comes from another piece (the next song where none does).
    """
    roots = batch.tree.roots()
    row = RowBuilder(audio_token_id)
    moved: dict[int, int] = {}
    for segment, parent in enumerate(batch.tree.parents):
        if parent < 0:
            other = roots[_other_song(batch, roots, roots.index(segment))]
            moved[segment] = row.add(
                batch.segment_ids(other), windows=_windows_of(batch, other), example=batch.examples[segment]
            )
        else:
            moved[segment] = row.add(batch.segment_ids(segment), parent=moved[parent], example=batch.examples[segment])
    return row.build()


def _other_song(batch: PackedBatch, roots: list[int], number: int) -> int:
    pieces = [batch.examples[root].get("custom", {}).get("piece", root) for root in roots]
    others = [(number + step) % len(roots) for step in range(1, len(roots))]
    return next((o for o in others if pieces[o] != pieces[number]), others[0] if others else number)


def _windows_of(batch: PackedBatch, segment: int) -> AudioWindows | None:
    if batch.tree.parents[segment] >= 0:
        return None
    return batch.song_windows(batch.tree.roots().index(segment))
