import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import FormatReward, Reference

QUESTION = Reference("qa", "Which instrument?", "Piano")
CAPTION = Reference("caption", "Describe it.", "a duet")

PLAIN = "<think>a duet</think><answer>Piano</answer>"
MF_THINK = "<think>I hear a piano.</think> Hence, the final answer is: <answer>D</answer>"

# (completion, tolerant, strict, paper)
PROBES = [
    (PLAIN, 1, 1, 1),
    (MF_THINK, 1, 0, 0),
    ("<think></think><answer>Piano</answer>", 0, 0, 1),
    ("<think>x</think><answer>Piano</answer><answer>Flute</answer>", 0, 0, 1),
    ("<think>x<answer>y</answer></think><answer>Piano</answer>", 0, 0, 1),
    ("<think>x</think><answer>Piano</answer></answer>", 0, 0, 1),
    ("<think>x</think><think>y</think><answer>Piano</answer>", 0, 0, 1),
    (PLAIN + " and that is all", 0, 0, 0),
    (PLAIN + "\n", 1, 1, 0),
    ("<think>x</think><answer>Piano", 0, 0, 0),
    ("<think>x</think>\n\n<answer>a caption\n\nof two paragraphs</answer>", 1, 1, 1),
    ("Piano", 0, 0, 0),
]


@pytest.mark.parametrize(("completion", "tolerant", "strict", "paper"), PROBES)
def test_the_twelve_probes_earn_what_each_mode_says(completion, tolerant, strict, paper) -> None:
    assert FormatReward("tolerant")(completion, QUESTION) == tolerant
    assert FormatReward("strict")(completion, QUESTION) == strict
    assert FormatReward("paper")(completion, QUESTION) == paper


def test_captions_are_scored_like_questions() -> None:
    assert FormatReward()(PLAIN, CAPTION) == 1.0


def test_thoughts_shorter_than_asked_for_earn_nothing() -> None:
    assert FormatReward(min_think_words=2)(PLAIN, QUESTION) == 1.0
    assert FormatReward(min_think_words=3)(PLAIN, QUESTION) == 0.0


def test_punctuation_alone_is_no_thought() -> None:
    assert FormatReward()("<think> . </think><answer>Piano</answer>", QUESTION) == 0.0


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match="mode must be tolerant, strict or paper, not 'loose'"):
        FormatReward("loose")  # type: ignore[arg-type]


def test_asking_for_no_thoughts_is_refused() -> None:
    with pytest.raises(UserError, match="min_think_words must be at least 1, not 0"):
        FormatReward(min_think_words=0)
