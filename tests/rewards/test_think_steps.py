import random
import time

import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import Reference, ThinkStepsReward
from music_flamingo.rewards.think_steps import Step, judge_steps, parse_steps

STEPS = {
    "first_instrument": {
        "template": "at {seconds} s the {value} begins",
        "values": ["flute", "violin", "bass flute"],
    },
    "last_instrument": {"template": "at {seconds} s the {value} joins last", "values": ["flute", "violin"]},
    "texture": {"template": "a {value}", "values": ["solo", "duet"]},
    "drums": {"template": "{value}", "values": ["with drums", "no drums"]},
    "change": {
        "template": "at {seconds} s it {value}",
        "values": {"gets louder": "louder", "pauses": "pause"},
    },
}
OBSERVED = {"first_instrument": "flute", "last_instrument": "violin", "texture": "duet", "drums": "drums"}
TRUE_STEPS = "at 0 s the flute begins . at 4 s the violin joins last . a duet . with drums ."


def score(think: str, observations: dict[str, str] = OBSERVED, **settings) -> float | None:
    completion = f"<think> {think} </think> <answer> flute </answer>"
    reference = Reference("qa", "?", "flute", observations=observations, observation_seconds={"last_instrument": 3.9})
    return ThinkStepsReward({"steps": STEPS}, **settings)(completion, reference)


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (TRUE_STEPS, 1.0),
        ("a duet . with drums . at 4 s the violin joins last . at 0 s the flute begins .", 1.0),
        ("A Duet.\nWith drums.", 2 / 4),
        ("a duet . no drums .", 0.0),
        ("a duet . with drums . at 0 s the violin begins .", 1 / 4),
        ("with drums . with drums .", 0.0),
        (TRUE_STEPS + " a duet .", 3 / 4),
        (TRUE_STEPS + " lovely music .", 3 / 4),
        (TRUE_STEPS + " at 5 s it gets louder .", 3 / 4),
        ("no drums . with drums . a duet .", -1 / 4),
        ("a duet with drums .", -1 / 4),
        ("flute violin duet drums", -1 / 4),
        ("", 0.0),
        (" . . ", 0.0),
        ("lovely . " * 20, -1.0),
    ],
)
def test_true_statements_earn_and_all_others_cost(think: str, expected: float) -> None:
    assert score(think) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("think", "false_weight", "expected"),
    [
        (TRUE_STEPS + " at 5 s it gets louder .", 2, 2 / 4),
        ("a duet . with drums . at 0 s the violin begins .", 3, -1 / 4),
        ("a duet . with drums . a duet .", 1.5, 0.5 / 4),
        (TRUE_STEPS, 3, 1.0),
        ("a solo . no drums . at 0 s the violin begins .", 3, -9 / 4),
        ("lovely . " * 20, 3, -3.0),
    ],
)
def test_false_statements_can_cost_more(think: str, false_weight: float, expected: float) -> None:
    assert score(think, false_weight=false_weight) == pytest.approx(expected)


def test_a_statement_maps_its_surface_to_the_observed_value() -> None:
    assert score("at 5 s it pauses .", {"change": "pause"}) == 1.0
    assert score("at 5 s it gets louder .", {"change": "pause"}) == -1.0


def test_times_are_checked_only_where_a_tolerance_is_given() -> None:
    late = TRUE_STEPS.replace("at 4 s", "at 7 s")
    assert score(late) == 1.0
    assert score(late, seconds_tolerance=0.5) == pytest.approx(2 / 4)
    assert score(TRUE_STEPS, seconds_tolerance=0.5) == 1.0


def test_without_observations_it_abstains() -> None:
    assert score(TRUE_STEPS, {}) is None
    assert score(TRUE_STEPS, {"mood": "sad"}) is None


def test_captions_are_scored_like_questions() -> None:
    reference = Reference("caption", "?", "a duet", observations={"texture": "duet"})
    assert ThinkStepsReward({"steps": STEPS})("<think> a duet . </think> <answer> x </answer>", reference) == 1.0


def test_a_completion_without_thoughts_earns_nothing() -> None:
    reference = Reference("qa", "?", "flute", observations=OBSERVED)
    assert ThinkStepsReward({"steps": STEPS})("a duet . <answer> flute </answer>", reference) == 0.0


def test_steps_are_parsed_with_their_times_and_wording() -> None:
    assert parse_steps("at 4.5 s the bass flute begins . What a tune", STEPS) == [
        Step("first_instrument", "bass flute", 4.5, "at 4.5 s the bass flute begins"),
        Step("", "", None, "What a tune"),
    ]


def test_every_step_is_judged_in_order() -> None:
    steps = parse_steps("a solo . with drums . hm .", STEPS)
    assert judge_steps(steps, OBSERVED) == [(steps[0], False), (steps[1], True), (steps[2], False)]


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"template": "a tune", "values": ["x"]},
        {"template": "{value}"},
        {"template": "{value}", "values": []},
    ],
)
def test_a_template_that_can_state_nothing_is_refused(step) -> None:
    with pytest.raises(UserError, match=r'vocabulary, steps.mood: expected "template" with \{value\}'):
        ThinkStepsReward({"steps": {"mood": step}})


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(UserError, match="seconds_tolerance must be 0 or more, or null, not -1"):
        ThinkStepsReward({"steps": STEPS}, seconds_tolerance=-1)


def test_a_false_statement_costs_at_least_what_a_true_one_earns() -> None:
    with pytest.raises(UserError, match=r"false_weight must be 1 or more, not 0\.5"):
        ThinkStepsReward({"steps": STEPS}, false_weight=0.5)


def test_no_thoughts_make_it_raise_or_leave_its_range() -> None:
    rng = random.Random(0)
    units = [*TRUE_STEPS.split(), ".", "\n", "4.5", "{value}", "\ufdfa", "ש", "</answer>"]
    for _ in range(2000):
        assert -1.0 <= score(" ".join(rng.choices(units, k=rng.randrange(20)))) <= 1.0


@pytest.mark.parametrize("unit", [" . ", ".", "a duet . ", "1", "at 1 s the ", "\ufdfa", "\n", "x.x"])
def test_a_megabyte_of_thoughts_is_judged_in_50_milliseconds(unit: str) -> None:
    think = "at " + unit * (1_000_000 // len(unit))
    start = time.process_time()
    assert score(think) <= 0.0
    assert time.process_time() - start < 0.5
