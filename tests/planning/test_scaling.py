"""docs/scaling.md says what the functions say, and these what can be reckoned by hand."""

import math
import random
from pathlib import Path

import pytest

from music_flamingo.data_modules.song_packing import RowLimits, SongCost, divide_over_ranks
from music_flamingo.planning.communication import Network, average_over_replicas, fully_sharded, gather, zero
from music_flamingo.planning.parameters import Count, Parameters
from music_flamingo.planning.scaling import every_table, published_config
from music_flamingo.planning.waiting import longest_completion, longest_first, waiting
from tests.builders import full_size_config

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
# Whole numbers: a device of a node of 4 receives 8 bytes a second from it, and 1 from other nodes.
NETWORK = Network(node=4, nvlink=8.0, infiniband=1.0, efficiency=1.0, nvlink_step=0.0, infiniband_step=0.0)


def test_the_page_has_the_tables_as_they_are_computed() -> None:
    for lines in every_table():
        assert "\n".join(lines) in PAGE


def test_the_sizes_are_those_of_the_published_model() -> None:
    assert published_config().to_dict() == full_size_config().to_dict()


def test_within_a_node_each_device_receives_what_it_lacks() -> None:
    traffic = gather(32.0, 4, NETWORK)
    assert (traffic.received, traffic.seconds) == (24.0, 24.0 / 8.0)
    assert gather(32.0, 1, NETWORK).received == 0


def test_between_nodes_all_adapters_of_a_node_share_what_it_lacks() -> None:
    # 2 nodes of 4: each node lacks 16 of 32 bytes, 4 through each adapter; NVLink brings 28 in 3.5 s.
    assert gather(32.0, 8, NETWORK).seconds == 16.0 / 4
    assert gather(32.0, 8, Network(4, 1.0, 1.0, 0.5, 0.0, 0.0)).seconds == 28.0 / 0.5


def test_each_collective_goes_through_all_devices_of_a_node_and_all_nodes() -> None:
    slow = Network(4, 1e12, 1e12, 1.0, nvlink_step=1.0, infiniband_step=10.0)
    assert gather(0.0, 16, slow, pieces=2).seconds == 2 * (3 * 1.0 + 3 * 10.0)
    assert average_over_replicas(0.0, 3, slow).seconds == 2 * 2 * 10.0


def test_layers_are_gathered_twice_and_all_else_once() -> None:
    parameters = Parameters(
        {"encoder": Count(frozen=10), "layers": Count(trained=100)}
        | {part: Count() for part in ("projector", "embedding", "head")}
    )
    # Forward and backward of the layers, the encoder once, gradients of the layers: 310 numbers of 4 bytes.
    assert fully_sharded(parameters, 2, 4, NETWORK).received == 3 / 4 * 4 * 310
    assert zero(parameters, 2, 4, NETWORK, stage=3).received == 3 / 4 * 4 * (2 * 110 + 100)
    assert zero(parameters, 2, 4, NETWORK, stage=2).received == 3 / 4 * 4 * (110 + 100)
    two = fully_sharded(parameters, 2, 8, NETWORK, replicas=2)
    assert two.received == 3 / 4 * 4 * 310 + 2 * (1 / 2) * 4 * 100 / 4


def test_songs_are_divided_as_training_divides_them() -> None:
    costs = [random.Random(seed).uniform(1, 9) for seed in range(40)]
    rows, _ = divide_over_ranks([SongCost(flops=each) for each in costs], 6, RowLimits())
    assert sorted(longest_first(costs, 6)) == pytest.approx(sorted(sum(costs[song] for song in row) for row in rows))


def test_nobody_waits_where_all_songs_cost_the_same() -> None:
    assert waiting(lambda seconds: 1.0, 8, 4, balanced=False) == 1.0


def test_the_longest_completion_is_the_mean_of_the_largest_draw() -> None:
    rng = random.Random(0)
    draws = [max(min(40, 1 + int(rng.expovariate(-math.log(1 - 1 / 20)))) for _ in range(5)) for _ in range(20_000)]
    assert longest_completion(20.0, 40, 5) == pytest.approx(sum(draws) / len(draws), rel=0.01)
    assert longest_completion(20.0, 40, 10**6) == pytest.approx(40.0)
