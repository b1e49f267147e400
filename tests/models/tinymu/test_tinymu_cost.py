"""FLOPs of TinyMU, as counted from its sizes and as torch counts them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from music_flamingo.batch import RowBuilder
from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.models.cost_model import Workload, row_workload
from music_flamingo.models.matpac.cost import matpac_flops
from music_flamingo.models.model_kinds import cost_model_of, load_model
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration
from music_flamingo.models.tinymu.cost import TinyMUCost
from tests.builders import preset_directory
from tests.models.attention_by_definition import AttentionByDefinition
from tests.models.test_packed_rows import asked_row

ROTARY = 1e-4
"""Angles of positions are a product of matrices too, which is not worth counting."""


def counted(run: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def full_size() -> TinyMUForConditionalGeneration:
    """Without numbers: torch counts from shapes."""
    with torch.device("meta"):
        network = TinyMUForConditionalGeneration(TinyMUConfig())
    network.set_attn_implementation("eager")  # torch does not count its fused form on a CPU
    return network


def toy(projector_hidden_size: int | None) -> TinyMUCost:
    audio = {"hidden_size": 4, "num_hidden_layers": 3, "num_attention_heads": 1, "intermediate_size": 8}
    text = {"vocab_size": 7, "hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return TinyMUCost(
        TinyMUConfig(
            audio_config={**audio, "patch_size": 2, "num_mel_bins": 4, "window_frames": 8},
            text_config={"model_type": "llama", **text, **heads},
            projector_hidden_size=projector_hidden_size,
        )
    )


def test_a_toy_model_by_hand() -> None:
    # Windows of 5 and 2 frames have 3 and 1 steps of two patches, and a class token: 7 and 3 tokens.
    flops = toy(5).flops(Workload(((5, 2),), 4, 9, 45, 2, 15, 2))
    patches = 8 * 2 * 2 * 2 * 4
    layer = 10 * (4 * (2 * 4 * 4) + 2 * (2 * 4 * 8)) + (7 * 7 + 3 * 3) * 2 * (2 * 4)
    assert flops.encoder == patches + 3 * layer
    assert flops.projector == 4 * (2 * 8 * 5 + 2 * 5 * 6)
    layer = 9 * (2 * (2 * 6 * 3) + 2 * (2 * 6 * 6) + 3 * (2 * 6 * 10)) + 45 * 2 * (2 * 2 * 3)
    assert flops.language_model == 2 * layer + 2 * (2 * 6 * 7)


def test_the_papers_projector_is_one_product() -> None:
    assert toy(None).flops(Workload(audio_tokens=4)).projector == 4 * 2 * 8 * 6


def test_a_tiny_model_computes_as_many_flops_as_counted() -> None:
    model, row = load_model(str(preset_directory("tinymu-tiny"))).eval(), asked_row("tinymu-tiny")
    model.network.model.audio_tower.set_attn_implementation("eager")
    read, index = row.targets.positions.unique(return_inverse=True)

    def forward() -> None:
        hidden = model.hidden_states(row, attend=AttentionByDefinition(row, read), rows=read)[index]
        token_logprobs(hidden, model.head_weight, row.targets.token_ids)

    expected = cost_model_of(str(preset_directory("tinymu-tiny"))).flops(row_workload(row)).forward
    assert counted(forward) == pytest.approx(expected, rel=ROTARY)


@pytest.mark.parametrize("frames", [992, 601, 1])
def test_matpac_at_its_full_size_computes_as_many_flops_as_counted(frames: int) -> None:
    network = full_size()
    windows = torch.empty(2, 80, frames, device="meta")
    assert counted(lambda: network.model.audio_tower(windows)) == matpac_flops(
        network.config.audio_config, [frames] * 2
    )


def test_projector_and_language_model_at_their_full_size_compute_as_many_flops_as_counted() -> None:
    network = full_size()
    features, embeddings = torch.empty(62, 3840, device="meta"), torch.empty(1, 300, 576, device="meta")
    every_token = torch.empty(1, 1, 300, 300, device="meta")
    counts = [
        counted(lambda: network.model.multi_modal_projector(features)),
        counted(lambda: network(inputs_embeds=embeddings, attention_mask=every_token, logits_to_keep=20)),
    ]
    flops = TinyMUCost(network.config).flops(Workload(audio_tokens=62, tokens=300, seen_tokens=300 * 300, targets=20))
    assert counts[0] == flops.projector
    assert counts[1] == pytest.approx(flops.language_model, rel=ROTARY)


def test_tinymu_at_its_full_size() -> None:
    cost_model = TinyMUCost(TinyMUConfig())
    window = cost_model.flops(Workload(songs=((992,),))).encoder
    assert window == pytest.approx(56.6e9, rel=0.003)
    assert 12 * 4 * 311**2 * 768 / window == pytest.approx(0.063, abs=0.001)
    assert cost_model.flops(Workload(tokens=1)).language_model == pytest.approx(212.3e6, rel=0.001)
    assert cost_model.flops(Workload(targets=1)).language_model == pytest.approx(56.6e6, rel=0.001)
    assert cost_model.flops(Workload(seen_tokens=1)).language_model == pytest.approx(69.1e3, rel=0.001)


def test_a_row_of_text_has_songs_without_windows() -> None:
    row = RowBuilder(audio_token_id=9)
    row.add([1, 2, 3], train_from=1)
    assert row_workload(row.build()).songs == ((),)
