import pytest

from music_flamingo.evaluation import scores
from music_flamingo.evaluation.prediction import Prediction


@pytest.fixture
def row(builders):
    return lambda **changes: Prediction.from_row(builders.prediction(**changes), "here")


def test_a_decoding_selects_by_audio_and_temperature(row):
    rows = [
        row(cut="a"),
        row(cut="b", audio="other"),
        row(cut="c", decoding="sampled", temperature=1.0),
        row(cut="d", decoding="sampled", temperature=0.5),
    ]

    def cuts(decoding):
        return [each.cut for each in decoding.select(rows)]

    assert cuts(scores.GREEDY) == ["a"]
    assert cuts(scores.GREEDY_OTHER_AUDIO) == ["b"]
    assert cuts(scores.SAMPLED) == ["c"]
    assert cuts(scores.SAMPLED_COOLER) == ["d"]


def test_every_conversation_weighs_the_same(row):
    rows = [
        row(conversation="a", reward=1.0),
        row(conversation="a", reward=2.0),
        row(conversation="b", reward=3.0),
    ]

    assert scores.mean(rows, scores.total_reward) == 2.25


def test_abstentions_are_left_out_of_a_mean(row):
    rows = [row(conversation="a", rewards={"format": None}), row(conversation="b", rewards={"format": 1.0})]

    assert scores.mean(rows, scores.named_reward("format")) == 1.0
    assert scores.mean(rows, scores.named_reward("think_steps")) is None


def test_an_interval_resamples_pieces(row):
    rows = [row(conversation=str(n), piece=str(n % 2), reward=float(n % 2)) for n in range(10)]

    summary = scores.mean_with_interval(rows, scores.total_reward)

    # Two pieces, one at 0 and one at 1: half of the draws take the same piece twice.
    assert summary == {"mean": 0.5, "interval": [0.0, 1.0], "n": 10}


def test_one_piece_gives_no_interval(row):
    assert scores.mean_with_interval([row()], scores.total_reward)["interval"] is None


def test_all_right_is_not_certain(row):
    rows = [row(conversation=str(n), piece=str(n)) for n in range(8)]

    low, high = scores.accuracy(rows)["interval"]

    # Wilson for 8 of 8: 1 / (1 + 1.96^2 / 8).
    assert (low, high) == (pytest.approx(0.6756, abs=1e-4), 1.0)


def test_differences_pair_conversations(row):
    after = [row(conversation="a", reward=3.0), row(conversation="b", reward=2.0), row(conversation="c")]
    before = [row(conversation="a", reward=1.0), row(conversation="b", reward=1.0)]

    difference = scores.paired_difference(after, before, scores.total_reward)

    assert (difference["mean"], difference["n"], difference["unpaired"]) == (1.5, 2, 1)


def test_without_pairs_there_is_no_difference(row):
    assert scores.paired_difference([row()], [], scores.total_reward) is None


def test_false_steps_are_shared_among_checked_ones(row):
    steps = [{"field": "drums", "value": "drums", "true": verdict} for verdict in (True, False, False, None)]

    assert scores.false_step_share([row(steps=steps), row(steps=None)]) == pytest.approx(2 / 3)
    assert scores.false_step_share([row(steps=[])]) is None


def test_coverage_counts_a_field_once_and_only_when_true(row):
    steps = [
        {"field": "drums", "value": "drums", "true": True},
        {"field": "drums", "value": "drums", "true": True},
        {"field": "tempo", "value": "slow", "true": False},
    ]
    heard = {"drums": "drums", "tempo": "fast", "texture": "solo", "change": "louder"}

    assert scores.step_coverage([row(steps=steps)], lambda _cut: heard) == 0.25
    assert scores.step_coverage([row(steps=steps, mode="direct")], lambda _cut: heard) is None


def test_repeated_values_are_mentions_beyond_the_first():
    captions = ["flute and flute and violin .", "a violin ."]

    assert scores.repeated_value_share(captions, ["flute", "violin"]) == 0.25
    assert scores.repeated_value_share(captions, []) is None
    assert scores.repeated_value_share(["music ."], ["flute"]) is None


def test_systematic_accuracy_looks_at_truths_that_were_mislabelled(row):
    rows = [
        row(conversation="a", truth="oboe", correct=False),
        row(conversation="b", truth="oboe", correct=True),
        row(conversation="c", truth="flute", correct=True),
    ]

    assert scores.systematic_accuracy(rows, {"oboe": "flute"})["mean"] == 0.5
    assert scores.systematic_accuracy(rows, {"marimba": "piano"}) is None
