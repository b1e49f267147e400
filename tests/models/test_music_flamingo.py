import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MusicFlamingoForConditionalGeneration

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.models import MusicFlamingo, evaluate_frozen_modules, freeze_parameters
from tests.builders import (
    ANSWERS,
    QUESTIONS,
    chat_text,
    hf_model,
    model_directory,
    processor,
    question_row,
    song,
    tiny_model,
)

SONGS = [song(10.0, 0), song(23.4, 1), song(7.0, 2), song(38.0, 3)]  # one, three, one and four windows


def row_logits(model: MusicFlamingo, row: PackedBatch) -> Tensor:
    return model.hidden_states(row) @ model.head_weight.T


def test_a_packed_row_gives_transformers_own_logits_sample_by_sample() -> None:
    row = question_row(SONGS)
    reference = hf_model()
    with torch.no_grad():
        logits = row_logits(tiny_model(), row)
        for number, waveform in enumerate(SONGS):
            for index, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
                positions = row.tree.row_positions(number * 4 + 1 + index)
                inputs = processor()(text=[chat_text(question, answer)], audio=[waveform])
                assert row.input_ids[positions].tolist() == inputs["input_ids"][0].tolist()
                torch.testing.assert_close(logits[positions], reference(**inputs).logits[0], rtol=0, atol=1e-5)


def test_changing_one_song_changes_no_other_segments_output() -> None:
    model = tiny_model()
    changed = [SONGS[0], song(23.4, 7), *SONGS[2:]]
    with torch.no_grad():
        before, after = (model.hidden_states(question_row(songs)) for songs in (SONGS, changed))
    tree = question_row(SONGS).tree
    for segment in range(len(tree.lengths)):
        part = tree.slice_of(segment)
        same = torch.equal(before[part], after[part])
        assert same == (tree.root_of(segment) != 4), f"segment {segment}"


def test_gradients_of_a_group_equal_those_of_plain_rows() -> None:
    questions = ["Are there drums?"] * 5
    answers = ["yes", "no", "the flute begins", "fast", "with drums . fast tempo"]
    shared, plain = tiny_model(), hf_model()
    logprobs, _ = shared.target_logprobs(question_row([SONGS[1]], questions, answers))
    (-logprobs.sum()).backward()
    for question, answer in zip(questions, answers, strict=True):
        inputs = processor()(text=[chat_text(question, answer)], audio=[SONGS[1]])
        logits = plain(**inputs).logits[0].log_softmax(-1)
        prompt = len(processor()(text=[chat_text(question)], audio=[SONGS[1]])["input_ids"][0])
        targets = inputs["input_ids"][0, prompt:]
        (-logits[prompt - 1 : -1].gather(-1, targets[:, None]).sum()).backward()
    for (name, ours), expected in zip(shared.network.named_parameters(), plain.parameters(), strict=True):
        if not ours.requires_grad:
            assert name == "model.audio_tower.embed_positions.weight"
            continue
        difference = (ours.grad - expected.grad).norm() / expected.grad.norm().clamp(min=1e-12)
        # A key's bias shifts all scores of a query alike: its gradient is rounding error around zero.
        assert difference <= 2e-5 or expected.grad.norm() < 1e-4, f"{name}: {difference:.1e}"


def test_windows_through_the_encoder_are_counted_with_and_without_gradient() -> None:
    model = tiny_model()
    row = question_row(SONGS[:2])
    model.hidden_states(row)
    with torch.no_grad():
        model.hidden_states(row)
    assert (model.windows_encoded, model.windows_with_gradient) == (8, 4)


def test_an_exported_model_is_loaded_by_transformers_with_the_same_logits(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.head_weight.mul_(0.9)
    replace_hf_directory(tmp_path / "export", model, str(model_directory()))
    loaded = MusicFlamingoForConditionalGeneration.from_pretrained(tmp_path / "export", local_files_only=True).eval()
    inputs = processor()(text=[chat_text(QUESTIONS[0], ANSWERS[0])], audio=[SONGS[1]])
    with torch.no_grad():
        expected = row_logits(model, question_row([SONGS[1]], QUESTIONS[:1]))
        torch.testing.assert_close(loaded(**inputs).logits[0], expected, rtol=0, atol=1e-5)
    assert not list(tmp_path.glob("**/*.bin")) + list(tmp_path.glob("**/*.pt"))


@pytest.mark.parametrize("missing", ["config.json", "processor_config.json"])
def test_a_directory_without_model_or_processor_is_named(tmp_path: Path, missing: str) -> None:
    for file in model_directory().iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / missing))):
        MusicFlamingo(str(tmp_path))


def test_a_freeze_pattern_that_finds_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="'vision_tower' matches no parameter"):
        freeze_parameters(tiny_model(), ["audio_tower", "vision_tower"])


def test_frozen_modules_stay_in_evaluation_mode() -> None:
    model = tiny_model()
    freeze_parameters(model, ["audio_tower"])
    model.train()
    evaluate_frozen_modules(model)
    assert not model.network.model.audio_tower.training
    assert model.network.model.language_model.training


def test_rotary_tables_are_float32() -> None:
    network = tiny_model().network
    buffers = {name: buffer.dtype for name, buffer in network.named_buffers() if "inv_freq" in name or "angles" in name}
    assert buffers
    assert set(buffers.values()) == {torch.float32}
