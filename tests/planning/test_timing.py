"""FLOPs and bytes of a step by hand."""

import pytest

from music_flamingo.data_modules.song_packing import RowLimits
from music_flamingo.models.cost_model import CostModel, Flops, Workload
from music_flamingo.planning.activations import Adapters, Arithmetic, Recompute, Trained
from music_flamingo.planning.devices import Device
from music_flamingo.planning.memory import Rollout, Step, key_value_bytes
from music_flamingo.planning.rows import Texts, planned_row
from music_flamingo.planning.sizes import DecoderSizes, EncoderSizes
from music_flamingo.planning.timing import decoding_bytes, step_time, training_flops
from tests.builders import frontend

DECODER = DecoderSizes(layers=2, width=4, inner=6, attended=4, kept=2, heads=2, head_dim=2, vocabulary=10)
ENCODER = EncoderSizes(layers=1, width=4, inner=6, heads=2, mel_bins=5, rotated=4)
FORWARD = Flops(encoder=1.0, projector=10.0, language_model=100.0)
LORA = Adapters(frozenset({"q_proj"}), 4, has_dropout=False)
DEVICE = Device("abacus", 0, peak=100.0, bandwidth=10.0, utilisation=0.5, source="by hand")


class EachRowCosts(CostModel):
    """The same, whatever is in it."""

    def flops(self, work: Workload) -> Flops:
        return FORWARD


@pytest.mark.parametrize(
    ("trained", "flops"),
    [
        (Trained(), 3 * 111),
        (Trained(encoder_from=None), 111 + 2 * 110),
        (Trained(encoder_from=None, projector=False, decoder=False, adapters=LORA), 111 + 100),
        (Trained(encoder_from=None, decoder=False, adapters=LORA), 111 + 20 + 100),
    ],
)
def test_a_frozen_part_costs_one_backward_pass_where_gradients_go_through_it(trained: Trained, flops: float) -> None:
    assert training_flops(FORWARD, trained) == flops


def step(recompute: Recompute) -> Step:
    return Step(DECODER, ENCODER, Trained(), Arithmetic(2, on_cpu=False), recompute)


def test_recomputed_networks_are_told_apart_from_the_models_own_flops() -> None:
    row = planned_row(10.0, Texts(1, 5, 5), RowLimits(max_duration=10.0), frontend(), EachRowCosts())
    kept, again = (step_time(row, EachRowCosts(), step(each), Trained(), 0, DEVICE) for each in list(Recompute)[:2])
    assert (kept.flops, kept.recomputed) == (333.0, 0.0)
    assert kept.seconds == pytest.approx(333.0 / 50)
    assert kept.fastest == pytest.approx(333.0 / 100)
    # Three matrices of 4 x 6 in one layer: the last one computes few tokens.
    assert again.recomputed == row.trained.tokens * 2 * 3 * 4 * 6
    assert again.flops == kept.flops
    whole = step_time(row, EachRowCosts(), step(Recompute.LAYER), Trained(), 0, DEVICE)
    assert whole.recomputed == EachRowCosts().flops(row.trained).language_model


def test_a_rollout_costs_a_forward_pass_and_a_reference_one_of_the_language_model() -> None:
    row = planned_row(
        10.0, Texts(1, 5, 0, completions=2, new_tokens=3), RowLimits(max_duration=10.0), frontend(), EachRowCosts()
    )
    assert step_time(row, EachRowCosts(), None, Trained(), 1, DEVICE).flops == 333 + 111 + 110


def test_each_sampled_token_reads_weights_and_keys() -> None:
    rollout = Rollout(Workload(tokens=20), 1, 12, 2, 4, completions=3, new_tokens=5)
    # Keys of the row, of its song, of two prompts, and of six completions: 2 x 2 bytes x 2 layers x 2 wide each.
    keys = 2 * 2 * 2 * 2 * (20 + 12 + 2 * 4 + 6 * 5)
    assert key_value_bytes(DECODER, rollout, 2) == keys
    layer = 4 * 4 + 2 * 4 * 2 + 4 * 4 + 3 * 4 * 6
    assert decoding_bytes(rollout, step(Recompute.NOTHING)) == 5 * (2 * (2 * layer + 40) + keys)
