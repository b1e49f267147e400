"""Which rows does a recipe train on? Made up from its limits and a song's length: no corpus is read."""

import math
from dataclasses import dataclass, replace

import torch

from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.models.audio_frontend import AudioFrontend
from music_flamingo.models.cost_model import CostModel, Workload, song_workload
from music_flamingo.planning.memory import Rollout

SAMPLE_RATE = 16_000
TEMPLATE_TOKENS = 20
"""What the chat template writes around a song's audio."""


@dataclass(frozen=True)
class Texts:
    """What is said about a song.

    Attributes:
        questions: on each song.
        question_tokens: of each, with what the chat template writes around it.
        answer_tokens: of each answer that is trained.
        completions: sampled for each question; 0 where answers are trained instead.
        new_tokens: the most of a completion.
    """

    questions: int
    question_tokens: int
    answer_tokens: int
    completions: int = 0
    new_tokens: int = 0


@dataclass(frozen=True)
class PlannedRow:
    """Songs of one length with their texts, as one row.

    Attributes:
        song_seconds: of each song.
        songs: in the row.
        given: the row as data gives it.
        trained: the row that is learned from, with the longest completions where they are sampled.
        rollout: what is sampled first, if anything.
    """

    song_seconds: float
    songs: int
    given: Workload
    trained: Workload
    rollout: Rollout | None = None


def planned_row(
    seconds: float, texts: Texts, limits: RowLimits, frontend: AudioFrontend, cost_model: CostModel
) -> PlannedRow:
    """As many songs of that length as a row holds, at least one."""
    song = one_song(seconds, texts, frontend)
    cost = SongCost(song.tokens, cost_model.flops(song).forward, 1, seconds)
    songs = songs_held(cost, limits)
    given = _times(song, songs)
    if not texts.completions:
        return PlannedRow(seconds, songs, given, given)
    root = song.tokens - texts.questions * texts.question_tokens
    prompts = songs * texts.questions
    rollout = Rollout(given, songs, root, prompts, texts.question_tokens, texts.completions, texts.new_tokens)
    trained = given + _times(completions_of(root + texts.question_tokens, texts), prompts)
    sampled = texts.questions * texts.completions * texts.new_tokens
    answered = replace(trained, song_tokens=tuple(tokens + sampled for tokens in given.song_tokens))
    return PlannedRow(seconds, songs, given, answered, rollout)


def one_song(seconds: float, texts: Texts, frontend: AudioFrontend) -> Workload:
    """A song with its questions, and their answers where these are given."""
    frames = frontend.mel_lengths(round(SAMPLE_RATE * seconds))
    audio_tokens = int(frontend.token_lengths(frames).sum())
    answer = 0 if texts.completions else texts.answer_tokens
    branches = [(texts.question_tokens, answer)] * texts.questions
    return song_workload(frames, audio_tokens, TEMPLATE_TOKENS, branches)


def completions_of(before: int, texts: Texts) -> Workload:
    """Of one prompt that ends `before` tokens from its song's beginning: each is as long as it may be."""
    length, number = texts.new_tokens, texts.completions
    # The prompt's last token predicts the first of all of them; the last of each predicts nothing.
    read = number * ((length - 1) * before + (length - 1) * length // 2)
    return Workload(
        tokens=number * length,
        seen_tokens=number * (length * before + length * (length + 1) // 2),
        read_tokens=1 + number * (length - 1),
        seen_by_read_tokens=before + read,
        targets=number * length,
    )


def songs_held(cost: SongCost, limits: RowLimits) -> int:
    """How many such songs fit into a row; the first always does."""
    bounds = [math.inf]
    if limits.max_tokens is not None:
        bounds.append(limits.max_tokens / cost.tokens)
    if limits.max_flops is not None:
        bounds.append(limits.max_flops / cost.flops)
    if limits.max_duration is not None:
        bounds.append(limits.max_duration / cost.longest)
    return max(1, int(min(bounds)))


def encoder_frames_of(work: Workload) -> int:
    """Frames that a Whisper's layers see of all windows: every second mel frame."""
    return int(((torch.tensor(work.windows, dtype=torch.int64) - 1) // 2 + 1).sum())


def _times(work: Workload, number: int) -> Workload:
    return sum([work] * number, Workload())
