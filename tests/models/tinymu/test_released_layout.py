from pathlib import Path

import pytest
from transformers import AutoProcessor

from music_flamingo.errors import UserError
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.tinymu import TinyMUProcessor
from music_flamingo.models.tinymu.presets import build
from music_flamingo.models.tinymu.released_layout import ReleasedLayout, side_by_side
from tests.builders import TEXTS, song

SMALL = ReleasedLayout(prompt_length=3, answer_length=4, padding_id=17, end_id=0)


def released(**settings: int) -> TinyMUProcessor:
    compact = build("tinymu-tiny", TEXTS)[1]
    return TinyMUProcessor(compact.feature_extractor, compact.tokenizer, layout="released", **settings)


def test_prompt_and_answer_are_padded_to_their_lengths() -> None:
    assert SMALL.row([9, 9, 1], [5, 17], [6, 17]) == {
        "input_ids": [9, 9, 1, 5, 17, 17, 6, 17, 0, 17],
        "attention_mask": [1, 1, 1, 1, 1, 0, 1, 1, 1, 0],
        "position_ids": list(range(10)),
        "labels": [-100] * 6 + [6, -100, 0, -100],
    }


def test_an_answer_of_the_full_length_has_no_room_for_its_end() -> None:
    assert SMALL.row([1], [], [2, 3, 4, 5])["labels"] == [-100] * 4 + [2, 3, 4, 5]


def test_what_an_answer_is_generated_from_ends_with_the_padded_prompt() -> None:
    assert SMALL.row([9, 1], [5])["input_ids"] == [9, 1, 5, 17, 17]


def test_shorter_rows_begin_later_and_count_from_their_own_beginning() -> None:
    inputs = side_by_side([SMALL.row([9, 9, 1], [5]), SMALL.row([1], [5])], 17)
    assert inputs["input_ids"].tolist() == [[9, 9, 1, 5, 17, 17], [17, 17, 1, 5, 17, 17]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3]]


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match=r"^text: .* 3 tokens \(prompt_length in .*, got 4: shorten it"):
        SMALL.row([1], [2, 3, 4, 5])
    with pytest.raises(UserError, match=r"^answers: .* 4 tokens \(answer_length in .*, got 5: shorten it"):
        SMALL.row([1], [2], [2, 3, 4, 5, 6])


@pytest.mark.parametrize("text", ["{audio} " + "yes " * 9, "yes {audio}", "yes"])
def test_a_prompt_that_does_not_fit_the_layout_is_refused(text: str) -> None:
    processor = released(prompt_length=5)
    sounds = [song(1.0)] if "audio" in text else None
    with pytest.raises(
        UserError, match=r"^text: (layout released begins with the song|expected a prompt of at most 5)"
    ):
        processor([text.format(audio=processor.audio_token)], sounds, sampling_rate=16_000)


def test_answers_and_layout_have_to_go_together() -> None:
    compact, song_and = build("tinymu-tiny", TEXTS)[1], ["<empty_output>yes"]
    with pytest.raises(UserError, match="layout compact takes an answer as the end of the text"):
        compact(song_and, [song(1.0)], answers=["no"])
    with pytest.raises(UserError, match="expected what is to be learnt beside output_labels"):
        released()(song_and, [song(1.0)], output_labels=True)
    with pytest.raises(UserError, match="expected one for each of 1 texts, got 2"):
        released()(song_and, [song(1.0)], answers=["no", "yes"])
    with pytest.raises(UserError, match="layout: expected compact or released, got 'loose'"):
        TinyMUProcessor(compact.feature_extractor, compact.tokenizer, layout="loose")  # type: ignore[arg-type]


def test_a_directory_says_which_layout_it_has_and_packed_rows_refuse_the_released_one(tmp_path: Path) -> None:
    build("tinymu-tiny", TEXTS)[0].save_pretrained(tmp_path)
    released(prompt_length=64).save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert (loaded.layout, loaded.prompt_length, loaded.answer_length) == ("released", 64, 129)
    with pytest.raises(UserError, match="expected layout compact, got released.*: change layout to compact"):
        ConversationFormat.from_directory(tmp_path)
