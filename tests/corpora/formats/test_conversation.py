import pytest

from music_flamingo.corpora.formats.conversation import conversation_of, option_named, turns_from
from music_flamingo.corpora.formats.record import NotImportedError, Record, Sound
from music_flamingo.rewards import Reference

SOUNDS = (Sound("a.wav"),)


def said(answer: str, question: str = "What?") -> Record:
    return Record(SOUNDS, ((question, answer),))


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("drum kit", ("drum kit", None)),
        ("Drum kit.", ("Drum kit.", None)),
        ("(B) drum kit", ("drum kit", "B")),
        ("B. drum kit.", ("drum kit", "B")),
        ("(B)", ("drum kit", "B")),
        ("B", ("drum kit", "B")),
        ("D", ("D", None)),
        ("(D)", ("choir", "D")),
        ("(A) drum kit", None),
        ("(Z)", None),
        ("a harp", None),
        ("Banjo", None),
    ],
)
def test_an_answer_names_an_option_by_text_before_letter(answer: str, named: tuple[str, str | None] | None) -> None:
    assert option_named(answer, ["flute", "drum kit", "D", "choir"]) == named


def test_options_are_what_rewards_accept() -> None:
    asked = conversation_of(said("(B)", "Which? (A) a flute. (B) drums."))
    assert Reference.from_conversation(asked, {}).options == ("a flute", "drums")
    asked = conversation_of(said("a harp", "Which? (A) a flute. (B) drums."))
    assert "options" not in asked
    assert Reference.from_conversation(asked, {}).answer == "a harp"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (" ", "no answer"),
        ("<think>slow</think> flute", "thoughts: <answer> is missing"),
        ("<think>slow</think><answer> </answer>", "thoughts: <answer> is empty"),
        ("it is <sound>", "an answer that holds audio"),
    ],
)
def test_answers_that_cannot_be_trained_say_why(answer: str, reason: str) -> None:
    with pytest.raises(NotImportedError, match=reason):
        conversation_of(said(answer))


def test_a_question_of_nothing_but_its_sound_is_none() -> None:
    with pytest.raises(NotImportedError, match="no question"):
        conversation_of(said("a flute", "<sound>\n"))


def test_other_angle_brackets_are_words() -> None:
    assert conversation_of(said("a <quiet> flute"))["answer"] == "a <quiet> flute"


def test_thoughts_come_back_as_they_were_written() -> None:
    written = "<think>It is slow.\nSo it is sad.</think> Hence, the final answer is: <answer>sad</answer>"
    plain = "<think>It is slow.</think> <answer>sad</answer>"
    record = Record(SOUNDS, (("Mood?", written), ("Sure?", plain), ("Why?", "It drags.")))
    asked = conversation_of(record)
    assert asked["thoughts"] == "It is slow.\nSo it is sad."
    assert turns_from(asked) == record.turns


def test_a_records_own_fields_stay_and_do_not_replace_what_importing_writes() -> None:
    record = Record(SOUNDS, (("What?", "a flute"),), extra={"answer": "B", "rationale": {"bars": [1, 2]}})
    asked = conversation_of(record)
    assert (asked["answer"], asked["record_answer"]) == ("a flute", "B")
    assert asked["rationale"] == {"bars": [1, 2]}


def test_records_that_do_not_say_are_of_the_default_task() -> None:
    asked = conversation_of(said("A calm flute, yes."), "caption")
    assert (asked["task"], asked["form"], asked["question_name"]) == ("caption", "caption", "caption")
