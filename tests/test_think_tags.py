import random
import re
import time

import pytest

from music_flamingo.think_tags import matches_paper_format, parse_completion, strip_end_tokens

PLAIN = "<think>a duet</think><answer>Piano</answer>"
MF_THINK = "<think>I hear a piano.</think> Hence, the final answer is: <answer>D</answer>"

PROBES = {
    "empty think": ("<think></think><answer>Piano</answer>", "<think> is empty"),
    "two answers": (
        "<think>x</think><answer>Piano</answer><answer>Flute</answer>",
        "<answer> occurs 2 times",
    ),
    "answer inside think": ("<think>x<answer>Piano</answer></think>", "the tags are nested or out of order"),
    "nested closing answer": (
        "<think>x</think><answer>Piano</answer> or</answer>",
        "</answer> occurs 2 times",
    ),
    "two think blocks": ("<think>x</think><think>y</think><answer>Piano</answer>", "<think> occurs 2 times"),
    "trailing text": (PLAIN + " as I said", "text after </answer>"),
    "unclosed answer": ("<think>x</think><answer>Piano", "</answer> is missing"),
    "text before": ("Well, " + PLAIN, "text before <think>"),
    "no tags": ("Piano", "<think> is missing"),
    "empty answer": ("<think>x</think><answer> </answer>", "<answer> is empty"),
    "long bridge": (
        f"<think>x</think>{'so ' * 30}<answer>Piano</answer>",
        "89 characters between the blocks",
    ),
}


@pytest.mark.parametrize(
    "text", [PLAIN, MF_THINK, PLAIN + "\n", "\n" + PLAIN, PLAIN + "<|im_end|>", PLAIN + " </s> <pad><pad>\n"]
)
def test_plain_and_bridged_completions_are_well_formed(text: str) -> None:
    parsed = parse_completion(text)
    assert parsed.well_formed
    assert parsed.problem == ""


@pytest.mark.parametrize(("text", "problem"), PROBES.values(), ids=PROBES.keys())
def test_every_other_probe_names_its_problem(text: str, problem: str) -> None:
    parsed = parse_completion(text)
    assert not parsed.well_formed
    assert problem in parsed.problem


def test_the_bridge_of_mf_think_is_kept_apart_from_the_answer() -> None:
    parsed = parse_completion(MF_THINK)
    assert (parsed.think, parsed.bridge, parsed.answer) == (
        "I hear a piano.",
        "Hence, the final answer is:",
        "D",
    )


def test_a_bridge_of_80_characters_is_the_longest() -> None:
    allowed, too_long = (f"<think>x</think>{'b' * n}<answer>y</answer>" for n in (80, 81))
    assert parse_completion(allowed).well_formed
    assert not parse_completion(too_long).well_formed


def test_spaced_tokens_of_a_word_tokenizer_are_read() -> None:
    parsed = parse_completion("<think> a duet . </think> hence : <answer> flute </answer>")
    assert (parsed.think, parsed.answer) == ("a duet .", "flute")


def test_a_multi_line_caption_is_one_answer() -> None:
    assert parse_completion("<think>x</think><answer>one\n\ntwo</answer>").answer == "one\n\ntwo"


@pytest.mark.parametrize(
    "text",
    [
        "<answer>a</answer><answer>b</answer>",
        "<think><answer>a</answer></think>",
        "<answer>a<think>b</answer></think>",
        "<answer>a",
        "</answer>a<answer>",
        "<think>x<answer>a</answer>",
    ],
)
def test_an_unclear_answer_is_none(text: str) -> None:
    assert parse_completion(text).answer is None


def test_an_ill_formed_completion_still_gives_its_whole_blocks() -> None:
    assert parse_completion("<answer>flute</answer>").answer == "flute"
    assert parse_completion("<think>a duet</think> flute").think == "a duet"


def test_end_tokens_are_stripped_and_other_endings_stay() -> None:
    assert strip_end_tokens("flute <|im_end|>\n<|endoftext|>") == "flute "
    assert strip_end_tokens("flute \n") == "flute \n"
    assert strip_end_tokens("<eos> flute") == "<eos> flute"


def test_paper_format_agrees_with_the_expression_it_stands_for() -> None:
    expression = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
    rng = random.Random(0)
    pieces = ["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "x"]
    for _ in range(20_000):
        middle = "".join(rng.choices(pieces, k=rng.randrange(7)))
        text = f"<think>{middle}</answer>" if rng.random() < 0.8 else middle
        assert matches_paper_format(text) == (expression.fullmatch(text) is not None), text


HOSTILE = [
    "<think>",
    "</think>",
    "</think> <answer>",
    "<pad>",
    " ",
    "\n<pad>",
    "<answer></answer>",
    "\ufdfa",
    ".",
]


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("read", [parse_completion, matches_paper_format])
def test_a_megabyte_is_read_in_50_milliseconds(unit: str, read) -> None:
    text = f"<think>{unit * (1_000_000 // len(unit))}</think>x<answer>y</answer>"
    fastest = min(_seconds(read, text) for _ in range(3))
    assert fastest < 0.5


def _seconds(function, text: str) -> float:
    start = time.process_time()
    function(text)
    return time.process_time() - start
