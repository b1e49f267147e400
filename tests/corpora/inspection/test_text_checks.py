import pytest

from music_flamingo.corpora.inspection.text_checks import is_among, tells_answer, words

OPTIONS = "What do you hear? Choose from the following options\n- A. the flute\n- B. an organ"


@pytest.mark.parametrize(
    ("question", "answer", "options", "tells"),
    [
        ("How does the flute sound in this piece?", "the flute", [], True),
        ("The piece is a jig. Which dance is it?", "Jig.", [], False),  # too few letters
        ("The piece is a hornpipe. Which dance is it?", "hornpipe", ["jig", "hornpipe"], True),
        (OPTIONS, "the flute", ["the flute", "an organ"], False),
        ("Which is it? (A) flute (B) violin", "flute", ["flute", "violin"], False),
        ("Do you hear a flute or a violin first?", "the flute", [], False),
        ("Flute, violin: which is first?", "violin", ["flute", "violin"], False),
        ("How fast is the tempo?", "fast", [], False),
        ("Does the drummer say yes?", "yes", [], False),
        ("Which flutes play?", "flute", [], False),
        ("Is there none of them?", "none", [], False),
        ("Is the meter 3/4 throughout?", "3/4", [], False),
    ],
)
def test_a_question_that_tells_its_answer(question: str, answer: str, options: list[str], tells: bool) -> None:
    assert tells_answer(question, answer, options) is tells


@pytest.mark.parametrize(
    ("answer", "among"),
    [
        ("flute", True),
        ("Flute.", True),
        ("B", True),
        ("(b)", True),
        ("A. flute", True),
        ("B. flute", False),
        ("C", False),
        ("the organ", False),
    ],
)
def test_an_answer_among_its_options(answer: str, among: bool) -> None:
    assert is_among(answer, ["flute", "violin"]) is among


def test_words_keep_musical_signs() -> None:
    assert words("In 3/4, F# minor (B♭)!") == ("in", "3/4", "f#", "minor", "b♭")
