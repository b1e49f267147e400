"""FLOPs of Audio Flamingo 2, as counted from its sizes and as torch counts them."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ClapAudioConfig

from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2.cost import AudioFlamingo2Cost, htsat_flops
from music_flamingo.models.audio_flamingo_2.cross_attention import PaddedAudio
from music_flamingo.models.audio_flamingo_2.window_features import encode_windows
from music_flamingo.models.cost_model import Workload, row_workload
from music_flamingo.models.model_kinds import cost_model_of, load_model
from tests.models.attention_by_definition import AttentionByDefinition
from tests.models.test_packed_rows import asked_row, directory

PRESET = "audio-flamingo-2-tiny"
ROTARY = 1e-4
"""Angles of positions are a product of matrices too, which is not worth counting."""


def counted(run: Callable[[], Any]) -> int:
    # torch does not count the fused form of attention on a CPU.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@lru_cache
def full_size() -> AudioFlamingo2ForConditionalGeneration:
    """Without numbers: torch counts from shapes."""
    with torch.device("meta"):
        network = AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config())
    network.model.language_model.set_attn_implementation("eager")
    return network


def toy() -> AudioFlamingo2Cost:
    """Of 64 patches a window at first, in squares of 4, then of 16 in squares of 4."""
    audio = {"spec_size": 32, "patch_embeds_hidden_size": 4, "hidden_size": 8, "depths": [1, 2], "window_size": 2}
    text = {"vocab_size": 7, "hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 5}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return AudioFlamingo2Cost(
        AudioFlamingo2Config(
            audio_config={**audio, "num_attention_heads": [1, 1], "mlp_ratio": 3.0},
            text_config={"model_type": "qwen2", **text, **heads},
            transform_layers=3,
            transform_heads=2,
            transform_feed_forward=9,
            cross_attention_interval=2,
            cross_attention_heads=2,
            cross_attention_head_dim=5,
        )
    )


def test_a_toy_model_by_hand() -> None:
    # One song of two windows, the second with 250 frames: of its tokens, 31.25 frames each, eight per band are heard.
    work = Workload(((1000, 250),), 1, 9, 45, 2, 15, 2, (9,))
    flops = toy().flops(work)
    patches = 64 * 2 * 16 * 4
    first = 64 * (4 * (2 * 4 * 4) + 2 * (2 * 4 * 12)) + 16 * (4 * 4) * 2 * (2 * 4)
    merging = 16 * (2 * 16 * 8)
    second = 2 * (16 * (4 * (2 * 8 * 8) + 2 * (2 * 8 * 24)) + 4 * (4 * 4) * 2 * (2 * 8))
    assert flops.encoder == 2 * (patches + first + merging + second)
    transform = 3 * (128 * (4 * (2 * 8 * 8) + 2 * (2 * 8 * 9)) + 128 * 128 * 2 * (2 * 8))
    # Two of five layers hear, ten numbers wide.
    text = 9 * (2 * (2 * 6 * 10) + 2 * (2 * 6 * 24))
    cross_attention = 2 * (128 * (2 * 8 * 20) + text + 9 * (64 + 16) * 2 * (2 * 10))
    assert flops.projector == transform + cross_attention
    key_and_value, query_and_output, gated = 2 * (2 * 6 * 3), 2 * (2 * 6 * 6), 3 * (2 * 6 * 10)
    layer = 9 * (key_and_value + query_and_output + gated) + 45 * 2 * (2 * 2 * 3)
    last = 9 * key_and_value + 2 * (query_and_output + gated) + 15 * 2 * (2 * 2 * 3)
    assert flops.language_model == 4 * layer + last + 2 * (2 * 6 * 7)


def test_a_row_costs_the_sum_of_its_songs() -> None:
    one, other = (Workload(((frames,),), 1, 9, 45, 2, 15, 2, (9,)) for frames in (1000, 250))
    both = toy().flops(one + other)
    assert both.forward == toy().flops(one).forward + toy().flops(other).forward


def test_a_text_without_audio_hears_nothing() -> None:
    flops = toy().flops(Workload(((),), 0, 9, 45, 2, 15, 2, (9,)))
    assert (flops.encoder, flops.projector) == (0, 0)


def test_a_tiny_model_computes_as_many_flops_as_counted() -> None:
    model, row = load_model(directory(PRESET)).eval(), asked_row(PRESET)
    read, index = row.targets.positions.unique(return_inverse=True)

    def forward() -> None:
        hidden = model.hidden_states(row, attend=AttentionByDefinition(row, read), rows=read)[index]
        token_logprobs(hidden, model.head_weight, row.targets.token_ids)

    expected = cost_model_of(directory(PRESET)).flops(row_workload(row)).forward
    assert counted(forward) == pytest.approx(expected, rel=ROTARY)


@pytest.mark.parametrize("sizes", [{}, {"patch_size": [4, 4], "patch_stride": 4}])
def test_htsat_at_its_full_size_computes_as_many_flops_as_counted(sizes: dict[str, Any]) -> None:
    tower = full_size().model.audio_tower
    windows = torch.empty(2, 64, 1001, device="meta")
    config = ClapAudioConfig(**{**tower.config.to_dict(), **sizes})
    assert counted(lambda: encode_windows(tower, windows)) == 2 * htsat_flops(config)


def test_the_parts_behind_it_at_their_full_size_compute_as_many_flops_as_counted() -> None:
    network = full_size()
    features, embeddings = torch.empty(1, 128, 2048, device="meta"), torch.empty(1, 300, 2048, device="meta")
    heard = PaddedAudio(features, torch.ones(1, 128, dtype=torch.bool, device="meta"))
    every_token = torch.empty(1, 1, 300, 300, device="meta")
    counts = [
        counted(lambda: network.model.hear(features, heard.mask)),
        counted(lambda: network(inputs_embeds=embeddings, attention_mask=every_token, audio=heard, logits_to_keep=20)),
    ]
    work = Workload(((1000, 1000),), 2, 300, 300**2, 300, 300**2, 20, (300,))
    flops = AudioFlamingo2Cost(network.config).flops(work)
    assert sum(counts) == pytest.approx(flops.projector + flops.language_model, rel=ROTARY)


def test_audio_flamingo_2_at_its_full_size() -> None:
    cost_model = AudioFlamingo2Cost(AudioFlamingo2Config())

    def between(windows: int, tokens: int) -> float:
        return cost_model.flops(Workload(((1000,) * windows,), song_tokens=(tokens,))).projector

    def language_model(**counts: int) -> float:
        return cost_model.flops(Workload(**counts)).language_model

    pair = (between(2, 0) - 2 * between(1, 0)) / (2 * 64**2)
    heard = (between(2, 1) - between(2, 0) - between(1, 1) + between(1, 0)) / 64
    figures = [
        (cost_model.flops(Workload(((1000,),), song_tokens=(0,))).encoder, 120.9e9),
        (between(1, 0) / 64 - 64 * pair, 302.0e6),
        (pair, 24.6e3),
        (language_model(tokens=1, read_tokens=1), 5.55e9),
        (between(1, 1) - between(1, 0) - 64 * heard, 2.57e9),
        (language_model(targets=1), 622.3e6),
        (heard, 73.7e3),
        (language_model(seen_tokens=1, seen_by_read_tokens=1), 294.9e3),
    ]
    for flops, expected in figures:
        assert flops == pytest.approx(expected, rel=0.002)


def test_what_a_row_hears_is_known_by_song() -> None:
    row = asked_row(PRESET, deaf_song=True)
    work = row_workload(row)
    assert sum(work.song_tokens) == work.tokens == row.tree.num_tokens
    assert [len(song) for song in work.songs] == [1, 0, 2, 1, 2]
    spans = [row.tree.slice_of(root).start for root in row.tree.roots()] + [row.tree.num_tokens]
    assert work.song_tokens == tuple(after - before for before, after in zip(spans, spans[1:], strict=False))
