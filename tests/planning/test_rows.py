"""Made-up rows, against rows that were built of songs and texts of the same lengths."""

import numpy as np
import pytest

from music_flamingo.batch import RowBuilder
from music_flamingo.data_modules.song_packing import RowLimits
from music_flamingo.models.cost_model import row_workload
from music_flamingo.models.model_kinds import cost_model_of
from music_flamingo.planning.planned import filling_seconds
from music_flamingo.planning.rows import TEMPLATE_TOKENS, PlannedRow, Texts, encoder_frames_of, planned_row
from tests.builders import chat, frontend, model_directory, question_row, song

WORD = 10


def planned(seconds: float, texts: Texts, **limits: float) -> PlannedRow:
    return planned_row(seconds, texts, RowLimits(**limits), frontend(), cost_model_of(str(model_directory())))  # type: ignore[arg-type]


def built(seconds: float, texts: Texts, songs: int) -> RowBuilder:
    """The row that the plan makes up."""
    placeholder = chat().processor.audio_token_id
    row = RowBuilder(placeholder)
    for number in range(songs):
        windows = frontend()(song(seconds, number))
        root = row.add([WORD] * TEMPLATE_TOKENS + [placeholder] * int(windows.tokens.sum()), windows=windows)
        for _ in range(texts.questions):
            answer = 0 if texts.completions else texts.answer_tokens
            length = texts.question_tokens + answer
            prompt = row.add([WORD] * length, parent=root, train_from=texts.question_tokens if answer else None)
            for _ in range(texts.completions):
                row.add([WORD] * texts.new_tokens, parent=prompt, train_from=0)
    return row


@pytest.mark.parametrize("texts", [Texts(3, 7, 5), Texts(2, 7, 0, completions=3, new_tokens=4)])
def test_a_planned_row_costs_what_the_row_itself_costs(texts: Texts) -> None:
    row = planned(13.0, texts, max_duration=26.0)
    assert row.songs == 2
    assert row.trained == row_workload(built(13.0, texts, 2).build())


def test_frames_are_those_of_the_encoders_layers() -> None:
    row = row_workload(question_row([np.zeros(16_000 * 12, np.float32)]))
    assert encoder_frames_of(row) == 500 + 100  # a window of 10 s and one of 2 s, 20 ms a frame


@pytest.mark.parametrize(
    ("limits", "songs"),
    [({"max_tokens": 1000}, 3), ({"max_duration": 45.0}, 4), ({"max_tokens": 5}, 1), ({"max_flops": 1.0}, 1)],
)
def test_a_row_holds_as_many_songs_as_its_limit_lets_in_and_at_least_one(limits: dict[str, float], songs: int) -> None:
    # 250 audio tokens and 20 around them, and one question with its answer
    assert planned(10.0, Texts(1, 10, 10), **limits).songs == songs


def test_a_rollout_is_told_with_its_longest_song_and_prompt() -> None:
    rollout = planned(10.0, Texts(2, 7, 0, completions=3, new_tokens=4), max_duration=20.0).rollout
    assert rollout is not None
    assert (rollout.songs, rollout.prompts, rollout.branches) == (2, 4, 12)
    assert (rollout.longest_song, rollout.longest_prompt) == (270, 7)


def test_songs_that_fill_a_row_leave_no_room_for_a_second_of_another() -> None:
    texts = Texts(2, 10, 10)
    longest = planned(60.0, texts, max_tokens=4000)
    assert (longest.songs, longest.given.tokens) == (2, 2 * (60 * 25 + 20 + 40))
    filling = planned(filling_seconds(longest, 4000), texts, max_tokens=4000)
    assert filling.songs == 3
    assert 4000 - 3 * 25 < filling.given.tokens <= 4000
    assert filling_seconds(longest, None) == 60.0
