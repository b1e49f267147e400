"""Models under autocast against transformers under autocast, and weights that are float32 whatever the files hold."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoProcessor

from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.kernels import GridFlash, PlainAttention
from music_flamingo.models import AFClap, MusicFlamingo
from music_flamingo.models.audio_flamingo_2.audio_transform import ROTARY_BASE, rotated
from music_flamingo.models.model_kinds import load_model
from music_flamingo.rollout import SamplingParameters, SharedEngine
from music_flamingo.rollout.rows import with_completions
from tests.builders import ANSWERS, QUESTIONS, model_directory, preset_directory, question_row, song
from tests.clap_builders import CAPTIONS, clap_directory
from tests.models.test_packed_rows import asked_row, chat, reads

PRESETS = ("tiny", "tinymu-tiny", "audio-flamingo-2-tiny")
_folder = TemporaryDirectory(prefix="music-flamingo-tests-")


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)  # as Lightning does


@pytest.mark.parametrize("preset", PRESETS)
def test_packed_logits_are_transformers_own_as_precise_as_those(preset: str) -> None:
    directory = str(preset_directory(preset))
    model, row = load_model(directory).eval(), asked_row(preset)
    reference = type(model.network).from_pretrained(directory).eval()
    with torch.no_grad():
        exact = model.hidden_states(row) @ model.head_weight.T
        inputs, positions = reads(preset, 0, QUESTIONS[0], ANSWERS[0]), row.tree.row_positions(1)
        with autocast():
            logits = model.hidden_states(row) @ model.head_weight.T
            theirs = reference(**inputs).logits[0, : len(positions)]  # Music Flamingo's template ends with a new line
    assert row.input_ids[positions].tolist() == inputs["input_ids"][0, : len(positions)].tolist()
    assert logits.dtype == theirs.dtype == torch.bfloat16
    # 2**-8 is a rounding of the largest logit.
    torch.testing.assert_close(logits[positions], theirs, rtol=0, atol=4 * 2**-8 * float(exact.abs().max()))
    ours_off, theirs_off = (each - exact[positions] for each in (logits[positions], theirs))
    assert ours_off.norm() < 1.2 * theirs_off.norm()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_trainer_gives_the_rollouts_log_probabilities_up_to_rounding(preset: str) -> None:
    model, row = load_model(str(preset_directory(preset))).eval(), asked_row(preset, None)
    sampling = SamplingParameters(max_new_tokens=5, num_generations=3)
    with torch.no_grad(), autocast():
        audio = model.encode_audio(row)
        drawn = torch.Generator().manual_seed(0)
        completions = SharedEngine().sample(model, row, audio, sampling, chat(preset).end_of_turn, drawn)
        packed, _ = with_completions(row, completions, model.audio_token_id)
        logprobs, _ = model.target_logprobs(packed)
    sampled = torch.cat([each.logprobs for each in completions])
    assert sampled.dtype == logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, sampled, rtol=0, atol=0.03)


@pytest.mark.parametrize("attention", [GridFlash(), PlainAttention()])
def test_any_attention_reads_what_autocast_makes(attention: Any) -> None:
    row = question_row([song(10.0, 0), song(13.4, 1)])
    model = MusicFlamingo(str(model_directory()), attention=attention).eval()
    exact, _ = model.target_logprobs(row)
    with autocast():
        ours, _ = model.target_logprobs(row)
    torch.testing.assert_close(ours, exact, rtol=0, atol=0.03)


def test_the_audio_transform_rounds_a_rotation_once() -> None:
    heads = torch.randn(1, 2, 600, 64).bfloat16()
    pairs = heads.double()[..., :16], heads.double()[..., 16:32]
    angles = torch.arange(600).double()[:, None] * ROTARY_BASE ** (-torch.arange(16).double() / 16)
    first = pairs[0] * angles.cos() - pairs[1] * angles.sin()
    ours = rotated(heads)[..., :16]
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), first, rtol=2**-8, atol=1e-4)


def test_af_clap_gives_unit_vectors_under_autocast() -> None:
    model = AFClap(clap_directory()).eval()
    with torch.no_grad(), autocast():
        lengths = model.embed_texts(CAPTIONS[:4]).double().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(4).double(), rtol=0, atol=1e-6)


@lru_cache
def published(directory: str) -> str:
    """The same model in bfloat16, as weights are published."""
    half = Path(_folder.name) / Path(directory).name
    type(loaded(directory).network).from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(half)
    AutoProcessor.from_pretrained(directory).save_pretrained(half)
    return str(half)


def loaded(directory: str) -> Any:
    return AFClap(directory) if Path(directory).name == "clap" else load_model(directory)


def floats(model: Any) -> dict[str, Tensor]:
    named = [*model.network.named_parameters(), *model.network.named_buffers()]
    return {name: each for name, each in named if each.is_floating_point()}


@pytest.mark.parametrize("preset", [*PRESETS, "clap"])
def test_a_directory_in_bfloat16_is_loaded_and_exported_in_float32(preset: str, tmp_path: Path) -> None:
    directory = clap_directory() if preset == "clap" else str(preset_directory(preset))
    half = published(directory)
    files = load_file(Path(half) / "model.safetensors")
    assert {each.dtype for each in files.values() if each.is_floating_point()} == {torch.bfloat16}
    model = loaded(half)
    saved = model.network.state_dict()
    own, single = floats(model), floats(loaded(directory))
    assert {each.dtype for each in own.values()} == {torch.float32}
    for name, tensor in single.items():
        # What is not in the files, such as rotary tables, is computed in float32 and not rounded at all.
        assert torch.equal(own[name], tensor.bfloat16().float() if name in saved else tensor), name
    replace_hf_directory(tmp_path / "export", model, half)
    written = load_file(tmp_path / "export" / "model.safetensors")
    assert {each.dtype for each in written.values() if each.is_floating_point()} == {torch.float32}
    assert type(model.network).from_pretrained(tmp_path / "export").dtype == torch.float32
