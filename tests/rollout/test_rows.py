"""Rows made from random rows keep what they were made from, told by what stands on each segment's path."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from music_flamingo.batch import AudioWindows, PackedBatch, PrefixTree, RowBuilder
from music_flamingo.rollout import Completion
from music_flamingo.rollout.rows import on_other_songs, with_completions, without_answers
from tests.layouts import forests

AUDIO = 9
WORDS = st.integers(10, 30)
DRAWN = st.integers(AUDIO, 30)
"""A model may draw the word that stands for audio."""


@dataclass(frozen=True)
class Trained:
    """A target, wherever it stands in its row: what is read before it, the token, its weight."""

    context: tuple[int, ...]
    token: int
    weight: float


def path_tokens(row: PackedBatch, segment: int) -> tuple[int, ...]:
    return tuple(row.input_ids[row.tree.row_positions(segment)].tolist())


def targets(row: PackedBatch) -> list[Trained]:
    found = []
    trained = row.targets
    columns = (trained.positions, trained.token_ids, trained.segments, trained.weights)
    for position, token, segment, weight in zip(*(column.tolist() for column in columns), strict=True):
        path = row.tree.row_positions(segment)
        context = path[: path.index(position) + 1]
        found.append(Trained(tuple(row.input_ids[context].tolist()), token, weight))
    return found


def songs(row: PackedBatch) -> list[tuple[float, ...]]:
    """The windows of each root, told apart by their first number."""
    windows = [row.song_windows(number) for number in range(len(row.tree.roots()))]
    return [() if each is None else tuple(each.features[:, 0, 0].tolist()) for each in windows]


@st.composite
def rows(draw: st.DrawFn, *, answers: bool) -> PackedBatch:
    """A row on any layout: roots with and without audio, of few pieces, and with `answers` trained branches."""
    tree: PrefixTree = draw(forests())
    row = RowBuilder(AUDIO)
    number = 0
    for segment, (length, parent) in enumerate(zip(tree.lengths, tree.parents, strict=True)):
        words = draw(st.lists(WORDS, min_size=length, max_size=length))
        if parent < 0:
            count = draw(st.integers(0, 2))
            features = torch.arange(number, number + count).float()[:, None, None].expand(-1, 2, 8)
            lengths = torch.full((count,), 4)
            windows = AudioWindows(features, lengths, torch.arange(count), torch.ones_like(lengths)) if count else None
            piece = {"custom": {"piece": draw(st.sampled_from(["a", "b"]))}}
            row.add([AUDIO] * count + words, windows=windows, example=piece)
            number += count
            continue
        train_from = draw(st.none() | st.integers(1, length - 1)) if answers and length > 1 else None
        weights = None if train_from is None else [0.5 + offset for offset in range(train_from, length)]
        row.add(words, parent=parent, train_from=train_from, weights=weights, example={"conversation": segment})
    return row.build()


@st.composite
def prompts_with_completions(draw: st.DrawFn) -> tuple[PackedBatch, list[Completion]]:
    row = draw(rows(answers=False))
    group = draw(st.integers(1, 3))
    tokens = st.lists(DRAWN, min_size=1, max_size=4)
    drawn = [(prompt, torch.tensor(draw(tokens))) for prompt in row.prompts() for _ in range(group)]
    return row, [
        Completion(prompt, ids, torch.zeros(len(ids)), torch.zeros(len(ids)), finished=True) for prompt, ids in drawn
    ]


@settings(max_examples=100)
@given(prompts_with_completions())
def test_completions_follow_their_prompts_and_all_their_tokens_are_trained(
    drawn: tuple[PackedBatch, list[Completion]],
) -> None:
    row, completions = drawn
    built, sequence_index = with_completions(row, completions, AUDIO)
    expected = {number: path_tokens(row, each.prompt) for number, each in enumerate(completions)}
    trained: dict[int, list[Trained]] = {number: [] for number in expected}
    for number, target in zip(sequence_index.tolist(), targets(built), strict=True):
        trained[number].append(target)
    for number, each in enumerate(completions):
        ids = each.token_ids.tolist()
        assert trained[number] == [
            Trained((*expected[number], *ids[:place]), token, 1.0) for place, token in enumerate(ids)
        ]
    kept = [path_tokens(row, segment) for segment in range(len(row.tree.lengths))]
    added = [(*expected[number], *each.token_ids.tolist()) for number, each in enumerate(completions)]
    assert sorted(path_tokens(built, s) for s in range(len(built.tree.lengths))) == sorted(kept + added)
    assert songs(built) == songs(row)
    assert len(built.audio_positions) == len(row.audio_positions)
    assert (built.input_ids[built.audio_positions] == AUDIO).all()


@settings(max_examples=100)
@given(rows(answers=True))
def test_without_its_answers_a_row_ends_every_segment_before_its_first_target(row: PackedBatch) -> None:
    built = without_answers(row, AUDIO)
    assert len(built.targets) == 0
    assert built.tree.parents == row.tree.parents
    assert built.examples == row.examples
    assert songs(built) == songs(row)
    trained: dict[int, list[int]] = {}
    for segment, token in zip(row.targets.segments.tolist(), row.targets.token_ids.tolist(), strict=True):
        trained.setdefault(segment, []).append(token)
    for segment in range(len(row.tree.lengths)):
        prompt = built.segment_ids(segment).tolist()
        assert prompt + trained.get(segment, []) == row.segment_ids(segment).tolist()
        assert prompt


@settings(max_examples=100)
@given(rows(answers=False))
def test_on_other_songs_every_question_stays_and_hears_another_piece_if_there_is_one(row: PackedBatch) -> None:
    built = on_other_songs(row, AUDIO)
    roots = row.tree.roots()
    pieces = [row.examples[root]["custom"]["piece"] for root in roots]
    own, heard = (
        [(path_tokens(each, root), windows) for root, windows in zip(each.tree.roots(), songs(each), strict=True)]
        for each in (row, built)
    )
    for number, song in enumerate(heard):
        others = [place for place, piece in enumerate(pieces) if piece != pieces[number]]
        others = others or [place for place in range(len(roots)) if place != number] or [number]
        assert song in [own[place] for place in others]
    assert built.tree.parents == row.tree.parents
    assert built.examples == row.examples
    assert len(built.targets) == 0
    for segment, parent in enumerate(row.tree.parents):
        if parent >= 0:
            assert built.segment_ids(segment).tolist() == row.segment_ids(segment).tolist()
