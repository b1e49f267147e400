import random
import time

import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import AccuracyReward, Reference

INSTRUMENTS = ("piano", "organ", "flute", "violin")


def tagged(answer: str) -> str:
    return f"<think>a duet</think> Hence, the final answer is: <answer>{answer}</answer>"


def score(answer: str, truth: str, answer_type: str = "text", options: tuple[str, ...] = (), **settings) -> float:
    reference = Reference("qa", "?", truth, answer_type, options)
    return AccuracyReward(**settings)(tagged(answer), reference)


@pytest.mark.parametrize(
    ("answer", "truth", "answer_type"),
    [
        ("Flute", "flute", "text"),
        ("The flute.", "flute", "text"),
        ("The answer is flute.", "flute", "text"),
        ("The correct answer is: Hip-Hop", "hip hop", "text"),
        ("C#m", "Db minor", "key"),
        ("the key of D♭ Min.", "C# minor", "key"),
        ("A minor", "a minor", "key"),
        ("98 BPM", "96", "bpm"),
        ("about 96 beats per minute", "96 BPM", "bpm"),
        ("104", "100", "bpm"),
        ("3 / 4", "3/4", "meter"),
        ("6/8 time", "6/8", "meter"),
        ("three", "3", "number"),
        ("3.0", "3", "number"),
        ("4.4 s", "4", "seconds"),
        ("at 4 seconds", "4 s", "seconds"),
        ("1:04", "64", "seconds"),
        ("violin and flute", "flute, violin", "list"),
        ("a violin , a flute , and drums", "flute, violin, drums", "list"),
        ("solo, full, solo", "solo, full, solo", "list"),
        ("about half", "about half", "bpm"),
    ],
)
def test_what_says_the_truth_is_right(answer: str, truth: str, answer_type: str) -> None:
    assert score(answer, truth, answer_type) == 1.0


@pytest.mark.parametrize(
    ("answer", "truth", "answer_type"),
    [
        ("violin", "flute", "text"),
        ("", "flute", "text"),
        (" . ", "flute", "text"),
        ("not flute", "flute", "text"),
        ("it is not a flute", "flute", "text"),
        ("maybe flute", "flute", "text"),
        ("flute or violin", "flute", "text"),
        ("flute then flute", "flute", "text"),
        ("flute, violin, piano, organ", "flute", "text"),
        ("minor", "A minor", "text"),
        ("C major", "C# major", "key"),
        ("E minor", "G major", "key"),
        ("G", "G major", "key"),
        ("G major or G minor", "G major", "key"),
        ("not G major", "G major", "key"),
        ("1250 BPM", "125", "bpm"),
        ("105", "100", "bpm"),
        ("between 60 and 120", "120", "bpm"),
        ("60-120 BPM", "120", "bpm"),
        ("96, 120", "96", "bpm"),
        ("maybe 96", "96", "bpm"),
        ("not 96", "96", "bpm"),
        ("6/8", "3/4", "meter"),
        ("4/4", "2/2", "meter"),
        ("13/4", "3/4", "meter"),
        ("3/4 or 4/4", "3/4", "meter"),
        ("13", "3", "number"),
        ("-3", "3", "number"),
        ("3 or 4", "3", "number"),
        ("4.6 s", "4", "seconds"),
        ("flute, flute, violin", "flute, violin", "list"),
        ("flute, violin, piano", "flute, violin", "list"),
        ("flute", "flute, violin", "list"),
        ("flute, not violin", "flute, violin", "list"),
        ("something", "fast", "bpm"),
    ],
)
def test_what_is_wrong_hedged_negated_or_repeated_is_not(answer: str, truth: str, answer_type: str) -> None:
    assert score(answer, truth, answer_type) == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "flute",
        "Flute.",
        "(C) flute",
        "C. flute",
        "C) Flute",
        "(C)",
        "C.",
        "[[C]]",
        "option C",
        "The answer is (C) flute",
    ],
)
def test_an_option_is_named_by_its_text_or_a_marked_letter(answer: str) -> None:
    assert score(answer, "flute", options=INSTRUMENTS) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "C",
        "(B)",
        "(C) violin",
        "(C) or (D)",
        "not (C)",
        "flute violin",
        "(C) flute (D) violin",
        "(Z)",
        "C. flute or organ",
    ],
)
def test_bare_letters_contradictions_and_several_options_are_wrong(answer: str) -> None:
    assert score(answer, "flute", options=INSTRUMENTS) == 0.0


def test_an_option_that_looks_like_a_letter_is_read_as_text_first() -> None:
    notes = ("C", "D", "Eb", "F")
    assert score("D", "D", options=notes) == 1.0
    assert score("D.", "D", options=notes) == 1.0
    assert score("D", "F", options=notes) == 0.0
    assert score("(D)", "F", options=notes) == 1.0
    assert score("B. D", "D", options=notes) == 1.0


def test_options_are_compared_by_value_without_tolerance() -> None:
    tempi = ("96", "98", "120")
    assert score("96 BPM", "96", "bpm", tempi) == 1.0
    assert score("97 BPM", "96", "bpm", tempi) == 0.0
    assert score("Db minor", "C# minor", "key", ("C# minor", "C minor")) == 1.0


def test_the_order_of_the_options_does_not_matter() -> None:
    for options in (INSTRUMENTS, INSTRUMENTS[::-1]):
        assert score("flute", "flute", options=options) == 1.0
        assert score("organ", "flute", options=options) == 0.0


def test_the_paper_compares_text_alone() -> None:
    assert score("C# Minor.", "c♯ min", "key", mode="paper") == 1.0
    assert score("Db minor", "C# minor", "key", mode="paper") == 0.0
    assert score("98", "96", "bpm", mode="paper") == 0.0
    assert score("(C)", "flute", options=INSTRUMENTS, mode="paper") == 0.0


def test_tolerances_are_settings() -> None:
    assert score("98", "96", "bpm", bpm_tolerance=0.0) == 0.0
    assert score("5", "4", "seconds", seconds_tolerance=1.0) == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "flute",
        "<think>x</think><answer>flute</answer><answer>violin</answer>",
        "<think>the <answer>flute</answer></think>",
        "<think>x</think><answer>flute",
    ],
)
def test_without_one_single_answer_nothing_is_right(completion: str) -> None:
    assert AccuracyReward()(completion, Reference("qa", "?", "flute")) == 0.0


def test_captions_are_not_its_business() -> None:
    assert AccuracyReward()(tagged("a duet"), Reference("caption", "?", "a duet")) is None


def test_the_reason_names_what_was_said_and_what_is_true() -> None:
    reference = Reference("qa", "?", "flute")
    judge = AccuracyReward().judge
    assert judge("violin", reference).why == "said violin, truth flute"
    assert judge("", reference).why == "empty answer, truth flute"
    assert judge(None, reference).why == "no single answer, truth flute"
    assert judge("x" * 5000, reference).why == "answer of 5000 characters, truth flute"
    assert len(judge("x" * 500, reference).why) < 150


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match="mode must be exact or paper, not 'judge'"):
        AccuracyReward("judge")  # type: ignore[arg-type]


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(UserError, match="bpm_tolerance and seconds_tolerance must be 0 or more, not -0.1 and 0.5"):
        AccuracyReward(bpm_tolerance=-0.1)


def test_no_answer_makes_it_raise_or_wait() -> None:
    rng = random.Random(0)
    alphabet = "abgABG #♯b♭0159.,:;/-()[] \n\ufdfa½ﷺ١٢<>'\"\\{}"
    types = ("text", "bpm", "key", "meter", "number", "seconds", "list")
    truths = dict(zip(types, ("flute", "96", "G minor", "3/4", "3", "4", "flute, violin"), strict=True))
    for _ in range(3000):
        answer = "".join(rng.choices(alphabet, k=rng.randrange(30)))
        answer_type = rng.choice(types)
        assert score(answer, truths[answer_type], answer_type) in (0.0, 1.0)


@pytest.mark.parametrize("answer", ["\ufdfa", "1", "flute, ", " and ", "a ", "( ", "it is "])
@pytest.mark.parametrize("length", [500, 1_000_000])
def test_long_answers_are_judged_in_50_milliseconds(answer: str, length: int) -> None:
    completion = tagged(answer * (length // len(answer)))
    reference = Reference("qa", "?", "flute, violin", "list", ("flute, violin", *"abcdefg"))
    AccuracyReward()(completion, reference)
    start = time.process_time()
    assert AccuracyReward()(completion, reference) == 0.0
    assert time.process_time() - start < 0.5
