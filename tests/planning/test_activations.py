"""Bytes of a token by hand: what each operator keeps, one after the other."""

import pytest

from music_flamingo.planning.activations import (
    Adapters,
    Arithmetic,
    Recompute,
    Trained,
    decoder_layer,
    encoder,
    last_layer,
)
from music_flamingo.planning.sizes import DecoderSizes, EncoderSizes

SIZES = DecoderSizes(layers=2, width=4, inner=6, attended=4, kept=2, heads=2, head_dim=2, vocabulary=10)
FULL, MIXED = Arithmetic(4, on_cpu=False), Arithmetic(2, on_cpu=False)
# A norm keeps its input and one number, and where its weight is trained the normalised input.
NORM_TRAINED, NORM_FROZEN = 4 * (4 + 4 + 1), 4 * (4 + 1)


def test_a_layer_in_float32_keeps_what_each_operator_needs() -> None:
    layer = decoder_layer(SIZES, Trained(), FULL, Recompute.NOTHING)
    inputs, queries_keys_values_outputs, log_sums = 4 * 4, 4 * (4 + 2 + 2 + 4), 4 * 2
    assert layer.attention == NORM_TRAINED + inputs + queries_keys_values_outputs + log_sums
    assert layer.feed_forward == NORM_TRAINED + inputs + 4 * 4 * 6


def test_in_mixed_precision_each_matrix_keeps_a_copy_of_its_own() -> None:
    layer = decoder_layer(SIZES, Trained(), MIXED, Recompute.NOTHING)
    assert layer.attention == NORM_TRAINED + 3 * (2 * 4) + 2 * (4 + 2 + 2 + 4) + 4 * 2
    assert layer.feed_forward == NORM_TRAINED + 2 * (2 * 4) + 2 * 4 * 6


def test_a_network_that_is_computed_again_keeps_its_input_alone() -> None:
    layer = decoder_layer(SIZES, Trained(), FULL, Recompute.NETWORK)
    assert layer.feed_forward == NORM_TRAINED + 4 * 4
    assert layer.recomputed == 4 * 4 * 6


def test_a_layer_that_is_computed_again_keeps_its_input_alone_and_so_does_the_last_one() -> None:
    layer = decoder_layer(SIZES, Trained(), FULL, Recompute.LAYER)
    everything = decoder_layer(SIZES, Trained(), FULL, Recompute.NOTHING)
    assert layer.kept == 4 * 4
    assert layer.recomputed == everything.kept
    assert last_layer(SIZES, Trained(), FULL, 100, 50, Recompute.LAYER) == 100 * 4 * 4


def test_a_frozen_layer_keeps_no_inputs_of_its_matrices() -> None:
    layer = decoder_layer(SIZES, Trained(decoder=False), FULL, Recompute.NOTHING)
    assert layer.attention == NORM_FROZEN + 4 * (4 + 2 + 2 + 4) + 4 * 2
    assert layer.feed_forward == NORM_FROZEN + 3 * 4 * 6


@pytest.mark.parametrize(("on_cpu", "mask"), [(True, 4), (False, 1)])
def test_an_adapter_with_dropout_keeps_its_own_input_and_the_mask(on_cpu: bool, mask: int) -> None:
    adapters = Adapters(frozenset({"q_proj"}), rank=3, has_dropout=True)
    numbers = Arithmetic(4, on_cpu)
    frozen = decoder_layer(SIZES, Trained(decoder=False), numbers, Recompute.NOTHING)
    adapted = decoder_layer(SIZES, Trained(decoder=False, adapters=adapters), numbers, Recompute.NOTHING)
    assert adapted.attention - frozen.attention == 4 * 4 + mask * 4 + 4 * 3
    assert adapted.feed_forward == frozen.feed_forward


def test_the_last_layer_computes_its_network_for_the_tokens_that_are_read() -> None:
    kept = [last_layer(SIZES, Trained(), FULL, 100, read, Recompute.NOTHING) for read in (0, 1)]
    assert kept[0] == 100 * (NORM_TRAINED + 4 * 4 + 4 * 12 + 4 * 2)
    network = NORM_TRAINED + 4 * 4 + 4 * 4 * 6
    assert kept[1] - kept[0] == 4 * 4 + 4 * 4 + network  # what its query and `o_proj` read


def test_a_frozen_encoder_keeps_nothing_and_a_layer_that_is_trained_what_it_needs() -> None:
    sizes = EncoderSizes(layers=3, width=4, inner=6, heads=2, mel_bins=5, rotated=4)
    assert encoder(sizes, Trained(encoder_from=None), FULL, 20, 10, recompute=False) == 0
    trained = [Trained(encoder_from=first) for first in (2, 3)]
    from_second, from_last = (encoder(sizes, each, FULL, 20, 10, recompute=False) for each in trained)
    # Two norms with two numbers each and their outputs; queries, keys, values, output, log-sum-exps; the network.
    assert from_second - from_last == 20 * (4 * (2 * 4 + 4) + 4 * 2 * 4 + 4 * (4 * 4 + 2) + 4 * 2 * 6)
    again = [encoder(sizes, each, FULL, 20, 10, recompute=True) for each in trained]
    assert again[0] - again[1] == 20 * 4 * 4  # a layer's input
