import re

import pytest

from music_flamingo.errors import UserError
from music_flamingo.planning.parameters import Count, Parameters
from music_flamingo.planning.sharding import (
    ContextParallelPlacement,
    FullyShardedPlacement,
    Model,
    Replicated,
    ZeROPlacement,
    placement_of,
)

PARTS = {
    "encoder": Count(frozen=100),
    "projector": Count(trained=20),
    "layers": Count(trained=800),
    "embedding": Count(trained=40),
    "head": Count(trained=40),
}
FULL = Model(Parameters(PARTS), layers=8, product=4, moments=8, stepping=4, rounded=0)
MIXED = Model(Parameters(PARTS), layers=8, product=2, moments=8, stepping=0, rounded=860, references=1)


def test_one_device_holds_all_and_several_hold_buckets_of_gradients_too() -> None:
    states = Replicated(1).states(FULL)
    assert (states.weights, states.gradients, states.optimizer) == (4 * 1000, 4 * 900, 8 * 900)
    assert (states.stepping, states.buckets, states.rounded) == (4 * 900, 0, 0)
    assert Replicated(2).states(FULL).buckets == 4 * 900


def test_mixed_precision_copies_weights_and_a_reference_model_is_one_more() -> None:
    states = Replicated(1).states(MIXED)
    assert (states.weights, states.rounded) == (2 * 4 * 1000, 2 * 860)


def test_fsdp_divides_all_and_gathers_the_root_and_two_layers_with_their_gradients() -> None:
    states = FullyShardedPlacement(4).states(FULL)
    assert (states.weights, states.gradients, states.optimizer) == (1000, 900, 8 * 225)
    assert states.gathered == 4 * (200 + 100 + 2 * (100 + 100))
    assert FullyShardedPlacement(4, replicas=2).states(FULL).weights == 2000
    assert FullyShardedPlacement(4).sampling_states(FULL).weights == 4000
    assert FullyShardedPlacement(4).states(MIXED).weights == 1000 + 1000
    assert FullyShardedPlacement(4).sampling_states(MIXED).weights == 4000 + 1000


def test_zero_divides_the_optimizer_and_with_stage_3_the_weights() -> None:
    second, third = (ZeROPlacement(4, stage).states(MIXED) for stage in (2, 3))
    assert second.weights == 4 * 1000 + 4 * 1000
    assert third.weights == 4 * 250 + 4 * 1000
    assert second.gradients == third.gradients == 4 * 225
    assert second.rounded == 2 * 860
    assert second.optimizer == 12 * 225
    assert ZeROPlacement(4, 2, offload_optimizer=True).states(MIXED).optimizer == 0


@pytest.mark.parametrize(
    ("strategy", "placement"),
    [
        (None, Replicated(4)),
        ("auto", Replicated(4)),
        ("ddp_find_unused_parameters_true", Replicated(4)),
        ({"class_path": "lightning.pytorch.strategies.DDPStrategy"}, Replicated(4)),
        ({"class_path": "music_flamingo.strategies.FullySharded"}, FullyShardedPlacement(4)),
        (
            {"class_path": "music_flamingo.strategies.FullySharded", "init_args": {"replicas": 2}},
            FullyShardedPlacement(4, 2),
        ),
        (
            {"class_path": "music_flamingo.strategies.ZeRO", "init_args": {"stage": 3, "offload_optimizer": True}},
            ZeROPlacement(4, 3, offload_optimizer=True),
        ),
        ("music_flamingo.strategies.ContextParallel", ContextParallelPlacement(4, 1, 4)),
    ],
)
def test_a_recipes_strategy_names_the_placement(strategy: object, placement: object) -> None:
    assert placement_of(strategy, 4) == placement  # type: ignore[arg-type]


def test_what_cannot_be_placed_is_told() -> None:
    three = {"class_path": "music_flamingo.strategies.FullySharded", "init_args": {"replicas": 3}}
    with pytest.raises(UserError, match="expected a number that divides 4 devices, got 3"):
        placement_of(three, 4)
    with pytest.raises(UserError, match=re.escape("expected one whose memory is known, auto, ddp")):
        placement_of("fsdp_cpu", 4)
