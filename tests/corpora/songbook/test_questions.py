import random
from itertools import combinations
from typing import Any

import pytest

from music_flamingo.corpora.songbook.captions import caption_text, metadata
from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.questions import ask
from music_flamingo.corpora.songbook.traces import concluded_answer

from .truths import duet, full_piece, solo

SEEDS = range(300)


def _ask(truth: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    record = metadata(truth, "fiddle tune")
    rng = random.Random(seed)
    return ask(truth, observe(truth), record, cut_id="cut1", tradition="fiddle tune", rng=rng)


def _find(conversations: list[dict[str, Any]], name: str, form: str) -> dict[str, Any]:
    return next(one for one in conversations if one["id"] == f"cut1-{name}-{form}")


def _options(truth: dict[str, Any], name: str) -> list[list[str]]:
    return [_find(_ask(truth, seed), name, "multiple_choice")["options"] for seed in SEEDS]


def test_a_duet_is_asked_everything_but_its_sections() -> None:
    names = {conversation["question_name"] for conversation in _ask(duet())}
    assert names == {
        "instrument", "last_instrument", "instruments", "entry_time", "drums", "texture", "tempo", "bpm",
        "meter",
        "tonic", "mode", "key", "change", "change_time", "chord", "dance", "caption",
    }  # fmt: skip


def test_a_solo_is_not_asked_about_what_it_lacks() -> None:
    names = {conversation["question_name"] for conversation in _ask(solo())}
    assert not names & {"last_instrument", "entry_time", "change_time", "chord", "sections", "dance"}


def test_a_full_piece_is_asked_about_sections_and_not_texture() -> None:
    conversations = _ask(full_piece())
    assert "texture" not in {conversation["question_name"] for conversation in conversations}
    assert _find(conversations, "sections", "open")["answer"] == "solo, full, duet"


def test_each_question_comes_in_three_forms_but_those_of_two_values_in_two() -> None:
    forms: dict[str, set[str]] = {}
    for conversation in _ask(duet()):
        forms.setdefault(conversation["question_name"], set()).add(conversation["form"])
    two_values = {"drums", "mode"}
    assert all(forms[name] == {"binary", "open"} for name in two_values)
    assert forms["caption"] == {"caption"}
    rest = forms.keys() - two_values - {"caption"}
    assert all(forms[name] == {"multiple_choice", "binary", "open"} for name in rest)


def test_ids_are_distinct() -> None:
    ids = [conversation["id"] for conversation in _ask(duet())]
    assert len(set(ids)) == len(ids)


def test_open_answers_of_a_duet() -> None:
    answers = {one["question_name"]: one["answer"] for one in _ask(duet()) if one["form"] == "open"}
    assert answers == {
        "instrument": "flute", "last_instrument": "violin", "instruments": "flute, violin", "entry_time": "4",
        "drums": "yes", "texture": "duet", "tempo": "fast", "bpm": "126", "meter": "4/4", "tonic": "G",
        "mode": "major", "key": "G major", "change": "louder", "change_time": "5", "chord": "C major",
        "dance": "reel",
    }  # fmt: skip


def test_a_multiple_choice_in_full() -> None:
    conversation = _find(_ask(duet(), seed=3), "tempo", "multiple_choice")
    options = conversation["options"]
    assert conversation["question"].endswith(
        f"Choose from the following options\n- A. {options[0]}\n- B. {options[1]}\n- C. {options[2]}"
    )
    assert conversation["answer"] == "fast"
    assert options["ABC".index(conversation["answer_letter"])] == "fast"
    assert conversation["answer_from"] == "tempo"
    assert conversation["task"] == "qa"


@pytest.mark.parametrize("truth", [duet(), solo(), full_piece()])
def test_options_are_three_to_eight_distinct_and_hold_the_answer_once(truth: dict[str, Any]) -> None:
    for seed in SEEDS:
        for conversation in _ask(truth, seed):
            if conversation["form"] == "multiple_choice":
                options = conversation["options"]
                assert options.count(conversation["answer"]) == 1
                assert 3 <= len(set(options)) == len(options) <= 8


def test_the_right_letter_is_drawn_evenly() -> None:
    letters = [_find(_ask(duet(), seed), "instrument", "multiple_choice")["answer_letter"] for seed in range(800)]
    assert all(letters.count(letter) == pytest.approx(200, abs=45) for letter in "ABCD")


@pytest.mark.parametrize("name", ["instrument", "drums", "bpm", "key", "instruments", "change"])
def test_half_of_the_claims_are_true(name: str) -> None:
    answers = [_find(_ask(duet(), seed), name, "binary")["answer"] for seed in range(800)]
    assert answers.count("yes") == pytest.approx(400, abs=60)


@pytest.mark.parametrize("truth", [duet(), solo(), full_piece()])
def test_a_claim_is_the_truth_exactly_where_the_answer_is_yes(truth: dict[str, Any]) -> None:
    for seed in SEEDS:
        for conversation in _ask(truth, seed):
            if conversation["form"] == "binary":
                assert (conversation["claim"] == conversation["value"]) == (conversation["answer"] == "yes")


def test_a_claim_of_no_change_tells_nothing() -> None:
    """Shares of the corpus: four clips in ten have no change, two each the others."""
    changes = ["none", "none", "louder", "softer", "pause"] * 800
    asked = [
        _find(_ask(solo(change=change, change_time=None if change == "none" else 5.0), seed), "change", "binary")
        for seed, change in enumerate(changes)
    ]
    for claim in set(changes):
        answers = [conversation["answer"] for conversation in asked if conversation["claim"] == claim]
        assert answers.count("yes") / len(answers) == pytest.approx(0.5, abs=0.06)


def test_a_late_entry_is_neither_the_first_nor_the_last_option_by_rule() -> None:
    truth = full_piece(entries=[{"instrument": "flute", "start": 0.0}, {"instrument": "violin", "start": 30.0}])
    ranks = [sorted(map(int, options)).index(30) for options in _options(truth, "entry_time")]
    assert set(ranks) == {0, 1, 2}


def test_claims_read_as_questions() -> None:
    claims = {
        _find(_ask(duet(change="none", change_time=None), seed), "change", "binary")["question"] for seed in SEEDS
    }
    assert "Does the music go on unchanged?" in claims
    assert "As it goes on, does it get softer?" in claims


def test_tempi_in_one_list_are_twelve_percent_apart() -> None:
    for options in _options(duet(), "bpm"):
        assert all(max(a, b) >= 1.12 * min(a, b) for a, b in combinations(map(int, options), 2))


@pytest.mark.parametrize("name", ["entry_time", "change_time"])
def test_seconds_in_one_list_are_apart_from_each_other_and_the_unrounded_truth(name: str) -> None:
    truth = 3.9 if name == "entry_time" else 5.1
    for options in _options(duet(), name):
        seconds = sorted(map(int, options))
        assert all(b - a >= 1.5 for a, b in combinations(seconds, 2))
        assert sum(abs(second - truth) >= 1.5 for second in seconds) == len(seconds) - 1


def test_keys_come_in_two_parallel_pairs() -> None:
    for options in _options(duet(), "key"):
        tonics = [key.split()[0] for key in options]
        assert all(tonics.count(tonic) == 2 for tonic in tonics)


def test_sets_of_instruments_do_not_betray_the_right_one() -> None:
    for options in _options(duet(), "instruments"):
        names = [name for option in options for name in option.split(", ")]
        assert all(names.count(name) == 2 for name in names)


def test_the_other_instrument_of_the_cut_is_among_the_options() -> None:
    assert all("violin" in options for options in _options(duet(), "instrument"))


def test_orders_of_sections_never_repeat_a_section_at_once() -> None:
    for options in _options(full_piece(), "sections"):
        assert all(
            a != b for option in options for a, b in zip(option.split(", "), option.split(", ")[1:], strict=False)
        )


def test_one_section_has_two_alternatives() -> None:
    truth = full_piece(sections=["full"], section_starts=[0.0])
    assert sorted(_find(_ask(truth), "sections", "multiple_choice")["options"]) == ["duet", "full", "solo"]


def test_a_chord_is_asked_while_it_sounds() -> None:
    assert "at 2.6 s" in _find(_ask(duet()), "chord", "open")["question"]


def test_open_questions_do_not_name_the_answer() -> None:
    asked_of_all_values = ("texture", "tempo", "mode", "change")
    for seed in SEEDS:
        for conversation in _ask(duet(), seed):
            if conversation["form"] == "open" and conversation["question_name"] not in asked_of_all_values:
                words = conversation["question"].replace("?", "").replace(",", "").split()
                assert conversation["answer"] not in words


def test_equal_seeds_ask_alike() -> None:
    assert _ask(duet(), 5) == _ask(duet(), 5)
    assert _ask(duet(), 5) != _ask(duet(), 6)


def test_the_caption_is_asked_for_last() -> None:
    conversation = _ask(duet())[-1]
    assert (conversation["id"], conversation["task"], conversation["form"]) == (
        "cut1-caption-caption",
        "caption",
        "caption",
    )
    assert conversation["answer"] == caption_text(duet(), "fiddle tune")
    assert conversation["answer_from"] is None


@pytest.mark.parametrize("truth", [duet(), solo(), full_piece()])
def test_a_true_chain_concludes_the_true_answer(truth: dict[str, Any]) -> None:
    for seed in SEEDS:
        for conversation in _ask(truth, seed):
            assert concluded_answer(conversation, observe(truth)) == conversation["answer"]
