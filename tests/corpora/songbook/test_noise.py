from typing import Any

import pytest

from music_flamingo.corpora.songbook.captions import caption_facts, render_caption
from music_flamingo.corpora.songbook.noise import MachineNoise
from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.vocabulary import INSTRUMENTS
from music_flamingo.errors import UserError

from .truths import duet, full_piece, solo

NUM_CHAINS = 5000
OBOE_AND_MARIMBA = duet(
    instruments=["oboe", "marimba"],
    entries=[{"instrument": "oboe", "start": 0.0}, {"instrument": "marimba", "start": 3.0}],
)


def _values(chain: list[dict[str, Any]] | None) -> dict[str, str]:
    assert chain is not None
    return {step["field"]: step["value"] for step in chain}


def test_without_probabilities_and_habits_nothing_changes() -> None:
    noise = MachineNoise(missing=0.0, wrong=0.0, systematic={})
    assert noise.observations(observe(duet()), key="a") == observe(duet())
    assert noise.facts(caption_facts(duet(), "chorale"), key="a") == caption_facts(duet(), "chorale")


def test_shares_over_many_chains() -> None:
    noise = MachineNoise(systematic={}, max_wrong_steps=1.0)
    chains = [noise.observations(observe(duet()), key=str(index)) for index in range(NUM_CHAINS)]
    truth = _values(observe(duet()))
    steps = [step for chain in chains if chain is not None for step in chain]
    total = NUM_CHAINS * len(truth)
    assert len(steps) / total == pytest.approx(0.90, abs=0.01)
    assert sum(step["value"] != truth[step["field"]] for step in steps) / total == pytest.approx(0.15, abs=0.01)


def test_report_counts_what_was_done() -> None:
    noise = MachineNoise(systematic={}, max_wrong_steps=1.0)
    truth = _values(observe(duet()))
    chains = [noise.observations(observe(duet()), key=str(index)) for index in range(500)]
    steps = [step for chain in chains if chain is not None for step in chain]
    report = noise.report()
    assert report["said"] == 500 * 6
    assert report["missing"] == 500 * 6 - len(steps)
    assert report["wrong"] == sum(step["value"] != truth[step["field"]] for step in steps)
    assert report["dropped_chains"] == chains.count(None)


def test_habits_are_always_applied() -> None:
    noise = MachineNoise(max_wrong_steps=1.0)
    for index in range(1000):
        said = set(_values(noise.observations(observe(OBOE_AND_MARIMBA), key=str(index))).values())
        facts = noise.facts(caption_facts(OBOE_AND_MARIMBA, "chorale"), key=str(index))
        assert not {"oboe", "marimba"} & (said | set(facts.get("instruments", "").split(", ")))


def test_habits_alone_map_every_instrument_and_are_counted_as_such() -> None:
    noise = MachineNoise(missing=0.0, wrong=0.0)
    values = _values(noise.observations(observe(OBOE_AND_MARIMBA), key="a"))
    assert (values["first_instrument"], values["last_instrument"]) == ("flute", "piano")
    assert noise.facts(caption_facts(OBOE_AND_MARIMBA, "chorale"), key="a")["instruments"] == "flute, piano"
    assert noise.report()["systematic"] == 4
    assert noise.report()["wrong"] == 0


def test_two_instruments_taken_for_one_are_named_once() -> None:
    truth = duet(instruments=["oboe", "flute"])
    said = MachineNoise(missing=0.0, wrong=0.0).facts(caption_facts(truth, "chorale"), key="a")
    assert said["instruments"] == "flute"


def test_a_wrong_instrument_is_neither_the_truth_nor_what_habit_makes_of_it() -> None:
    noise = MachineNoise(missing=0.0, wrong=1.0, max_wrong_steps=1.0)
    said = {_values(noise.observations(observe(solo()), key=str(index)))["first_instrument"] for index in range(300)}
    assert said == set(INSTRUMENTS) - {"oboe", "marimba", "flute"}


def test_a_change_is_mistaken_for_another_change() -> None:
    noise = MachineNoise(missing=0.0, wrong=1.0, max_wrong_steps=1.0)
    said = {_values(noise.observations(observe(duet()), key=str(index)))["change"] for index in range(100)}
    assert said == {"softer", "pause"}


def test_with_one_instrument_left_there_is_no_random_mistake() -> None:
    noise = MachineNoise(missing=0.0, wrong=1.0, systematic=dict.fromkeys(INSTRUMENTS, "piano"), max_wrong_steps=1.0)
    assert _values(noise.observations(observe(solo()), key="a"))["first_instrument"] == "piano"


@pytest.mark.parametrize(("num_steps", "is_dropped"), [(3, True), (4, False), (10, False)])
def test_one_wrong_step_drops_only_chains_of_which_it_is_more_than_30_percent(num_steps: int, is_dropped: bool) -> None:
    chain = [{"field": "tempo", "value": "fast", "start": None}]
    noise = _NoiseOfWrongTempo()
    chain += [{"field": "texture", "value": "duet", "start": None}] * (num_steps - 1)
    assert (noise.observations(chain, key="a") is None) == is_dropped


def test_exactly_30_percent_is_kept() -> None:
    chain = [{"field": "tempo", "value": "fast", "start": None}] * 3
    chain += [{"field": "texture", "value": "duet", "start": None}] * 7
    assert _NoiseOfWrongTempo().observations(chain, key="a") is not None


def test_a_chain_of_habits_is_kept() -> None:
    noise = MachineNoise(missing=0.0, wrong=0.0)
    assert noise.observations(observe(OBOE_AND_MARIMBA)[:2], key="a") is not None


def test_a_chain_without_a_step_is_dropped_and_counted() -> None:
    noise = MachineNoise(missing=1.0, wrong=0.0)
    assert noise.observations(observe(duet()), key="a") is None
    assert (noise.report()["dropped_chains"], noise.report()["empty_chains"], noise.report()["missing"]) == (
        1,
        1,
        6,
    )


def test_equal_seeds_and_keys_err_alike_in_any_order() -> None:
    one, other = MachineNoise(seed=4), MachineNoise(seed=4)
    keys = [str(index) for index in range(50)]
    forwards = {key: one.observations(observe(duet()), key=key) for key in keys}
    backwards = {key: other.observations(observe(duet()), key=key) for key in reversed(keys)}
    assert forwards == backwards


def test_seeds_and_keys_make_a_difference() -> None:
    def chains(seed: int, name: str) -> list[Any]:
        return [MachineNoise(seed=seed).observations(observe(duet()), key=f"{name}{index}") for index in range(20)]

    assert chains(0, "a") != chains(1, "a")
    assert chains(0, "a") != chains(0, "b")


def test_mistakes_do_not_depend_on_the_interpreter() -> None:
    values = _values(MachineNoise(max_wrong_steps=1.0).observations(observe(duet()), key="cut1 cut1-tempo-open"))
    assert values == {
        "first_instrument": "flute",
        "last_instrument": "piano",
        "texture": "duet",
        "drums": "drums",
        "tempo": "fast",
        "change": "louder",
    }


def test_the_same_key_is_counted_once() -> None:
    noise = MachineNoise()
    for _ in range(3):
        noise.observations(observe(duet()), key="a")
        noise.facts(caption_facts(duet(), "chorale"), key="a")
    assert (noise.report()["chains"], noise.report()["captions"]) == (1, 1)


def test_chain_and_caption_of_one_key_agree() -> None:
    noise = MachineNoise(max_wrong_steps=1.0)
    for index in range(200):
        chain = _values(noise.observations(observe(duet()), key=str(index)))
        facts = noise.facts(caption_facts(duet(), "chorale"), key=str(index))
        assert {name: chain.get(name) for name in ("texture", "drums", "tempo", "change")} == {
            name: facts.get(name) for name in ("texture", "drums", "tempo", "change")
        }
        entries = [chain[name] for name in ("first_instrument", "last_instrument") if name in chain]
        assert facts.get("instruments", "") == ", ".join(dict.fromkeys(entries))


@pytest.mark.parametrize("truth", [duet(), full_piece()])
def test_every_wrong_fact_differs_from_the_truth_and_can_be_rendered(truth: dict[str, Any]) -> None:
    facts = caption_facts(truth, "chorale")
    for index in range(100):
        said = MachineNoise(missing=0.0, wrong=1.0).facts(facts, key=str(index))
        assert said.keys() == facts.keys()
        assert all(said[name] != facts[name] for name in facts)
        assert render_caption(said).endswith(" .")


def test_noise_does_not_change_its_input() -> None:
    observations = observe(OBOE_AND_MARIMBA)
    MachineNoise().observations(observations, key="a")
    assert observations == observe(OBOE_AND_MARIMBA)


@pytest.mark.parametrize("name", ["missing", "wrong", "max_wrong_steps"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_its_range_is_an_error(name: str, value: float) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(UserError, match=rf"MachineNoise\.{name}: expected a number from 0 to 1, got {value}"):
        MachineNoise(**arguments)


def test_probabilities_that_sum_to_more_than_one_are_an_error() -> None:
    with pytest.raises(UserError, match=r"missing \+ wrong: expected a number from 0 to 1"):
        MachineNoise(missing=0.6, wrong=0.6)


@pytest.mark.parametrize("systematic", [{"kazoo": "flute"}, {"flute": "kazoo"}])
def test_a_habit_about_no_instrument_is_an_error(systematic: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"MachineNoise\.systematic: expected instruments of .*, got 'kazoo'"):
        MachineNoise(systematic=systematic)


def test_an_unknown_fact_is_an_error() -> None:
    with pytest.raises(UserError, match="facts: expected fields of .*, got 'mood'"):
        MachineNoise().facts({"mood": "merry"}, key="a")


class _NoiseOfWrongTempo(MachineNoise):
    """Errs about tempo and about nothing else."""

    def _said(self, name: str, value: str, key: str, tally: Any) -> str | None:
        if name != "tempo":
            return value
        tally["wrong"] += 1
        return "slow"
