from typing import Any

import pytest

from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.traces import concluded_answer, think_text, whole_seconds
from music_flamingo.corpora.songbook.vocabulary import songbook_vocabulary
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.think_steps import ThinkStepsReward

from .truths import duet, full_piece, solo


def _stated(**values: str) -> list[dict[str, Any]]:
    return [{"field": field, "value": value, "start": None} for field, value in values.items()]


def _conversation(name: str, answer: str, value: str, form: str = "open", **extra: Any) -> dict[str, Any]:
    answer_from = "first_instrument" if name == "instrument" else name
    return {
        "question_name": name, "form": form, "answer": answer, "answer_from": answer_from,
        "value": value, **extra
    }  # fmt: skip


def test_chain_of_a_duet() -> None:
    assert think_text(observe(duet())) == (
        "at 0 s the flute begins . at 4 s the violin joins last . duet texture . with drums . fast tempo . "
        "at 5 s louder ."
    )


def test_chain_of_a_solo() -> None:
    expected = "at 0 s the oboe begins . solo texture . with no drums . slow tempo . no change ."
    assert think_text(observe(solo())) == expected


def test_a_chain_ends_with_the_step_that_its_question_is_about() -> None:
    assert think_text(observe(duet()), concluding="first_instrument") == (
        "at 4 s the violin joins last . duet texture . with drums . fast tempo . at 5 s louder . "
        "at 0 s the flute begins ."
    )


def test_a_question_about_nothing_noted_leaves_the_order() -> None:
    assert think_text(observe(solo()), concluding="meter") == think_text(observe(solo()))


def test_no_observations_are_no_words() -> None:
    assert think_text([]) == ""


def test_half_seconds_round_up() -> None:
    assert [whole_seconds(seconds) for seconds in (0.49, 2.5, 3.5)] == [0, 3, 4]


def test_an_open_answer_follows_the_step() -> None:
    conversation = _conversation("instrument", "oboe", "oboe")
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == "flute"


def test_a_left_out_step_keeps_the_answer() -> None:
    assert concluded_answer(_conversation("instrument", "oboe", "oboe"), _stated(tempo="slow")) == "oboe"


def test_a_caption_is_never_concluded() -> None:
    caption = {"question_name": "caption", "form": "caption", "answer": "music .", "answer_from": None}
    assert concluded_answer(caption, _stated(tempo="slow")) == "music ."


@pytest.mark.parametrize(("claim", "answer"), [("flute", "yes"), ("oboe", "no"), ("piano", "no")])
def test_a_binary_answer_confirms_what_the_step_says(claim: str, answer: str) -> None:
    clean = "yes" if claim == "oboe" else "no"
    conversation = _conversation("instrument", clean, "oboe", "binary", claim=claim)
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == answer


def test_a_multiple_choice_takes_the_stated_option() -> None:
    options = ["flute", "oboe", "piano"]
    conversation = _conversation("instrument", "oboe", "oboe", "multiple_choice", options=options)
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == "flute"


def test_a_multiple_choice_without_the_stated_option_keeps_its_answer() -> None:
    options = ["guitar", "oboe", "piano"]
    conversation = _conversation("instrument", "oboe", "oboe", "multiple_choice", options=options)
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == "oboe"


@pytest.mark.parametrize(("stated", "answer"), [("drums", "yes"), ("no drums", "no")])
def test_drums_are_answered_by_yes_or_no(stated: str, answer: str) -> None:
    assert concluded_answer(_conversation("drums", "no", "no drums"), _stated(drums=stated)) == answer


def test_the_list_of_instruments_follows_both_entries() -> None:
    conversation = _conversation("instruments", "oboe, violin", "oboe, violin")
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == "flute, violin"
    assert concluded_answer(conversation, _stated(last_instrument="organ")) == "oboe, organ"
    assert concluded_answer(conversation, _stated(first_instrument="organ", last_instrument="organ")) == "organ"


def test_the_instrument_of_a_solo_is_the_first() -> None:
    conversation = _conversation("instruments", "oboe", "oboe")
    assert concluded_answer(conversation, _stated(first_instrument="flute")) == "flute"


def test_a_claim_about_instruments_is_compared_without_order() -> None:
    conversation = _conversation("instruments", "no", "oboe, violin", "binary", claim="violin, flute")
    assert concluded_answer(conversation, _stated(first_instrument="flute", last_instrument="violin")) == "yes"


@pytest.mark.parametrize("truth", [duet(), duet(change="pause", drums=False), solo(), full_piece()])
def test_a_true_chain_earns_the_whole_reward(truth: dict[str, Any]) -> None:
    observations = observe(truth)
    conversation = {"task": "qa", "question": "What is the tempo?", "answer": truth["tempo"]}
    reference = Reference.from_conversation(conversation, {"observations": observations})
    reward = ThinkStepsReward(songbook_vocabulary(), seconds_tolerance=0.5)
    completion = f"<think> {think_text(observations)} </think> <answer> {truth['tempo']} </answer>"
    assert reward(completion, reference) == 1.0
