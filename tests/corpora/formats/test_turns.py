import pytest

from music_flamingo.corpora.formats.record import NotImportedError
from music_flamingo.corpora.formats.turns import listed_options, turns_of, without_placeholders


def test_roles_of_all_publishers_make_turns() -> None:
    spoken = [("system", "s"), ("human", "q1"), ("gpt", "a1"), ("user", "q2"), ("assistant", "a2")]
    assert turns_of(spoken) == ("s", (("q1", "a1"), ("q2", "a2")))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no question"),
        ([("human", "q")], "no answer"),
        ([("human", "q"), ("gpt", "a"), ("human", "q")], "no answer"),
        ([("gpt", "a")], "do not alternate"),
        ([("human", "q"), ("human", "q")], "do not alternate"),
        ([("human", "q"), ("gpt", "a"), ("system", "s")], "do not alternate"),
        ([("tool", "q")], "a message from 'tool'"),
        ([(["human"], "q")], "a message from"),
        ([("human", None)], "a message without text"),
    ],
)
def test_what_is_no_conversation_says_why(messages: list[tuple[object, object]], reason: str) -> None:
    with pytest.raises(NotImportedError, match=reason):
        turns_of(messages)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<sound>\nWhat is it?", "What is it?"),
        ("What is it?\n<sound>", "What is it?"),
        ("Hear <sound> and tell.", "Hear and tell."),
        ("<audio>\n<audio>\nWhich?", "Which?"),
        ("<sound-1>\nOr <sound-2>?", "<sound-1>\nOr <sound-2>?"),
        ("  plain ", "plain"),
    ],
)
def test_placeholders_go_and_names_of_sounds_stay(text: str, words: str) -> None:
    assert without_placeholders(text) == words


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("What? (A) xxx. (B) yyy.", ("xxx", "yyy")),
        ("What?\n(A) one, two\n(B) three\n(C) four\nThink first.", ("one, two", "three", "four")),
        ("What?\nA. one\nB. two", ("one", "two")),
        ("What?\nA) one\nB) two", ("one", "two")),
        ("Is section (B) longer than section (A)?", ()),
        ("What is (A) here?", ()),
        ("What? (A) (B) two", ()),
        ("What is B minor?", ()),
    ],
)
def test_options_are_read_where_a_question_lists_them_from_a_on(question: str, options: tuple[str, ...]) -> None:
    assert listed_options(question) == options
