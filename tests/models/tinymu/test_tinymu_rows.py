"""TinyMU on packed rows against transformers' forward on one question at a time."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.callbacks.hf_export import export
from music_flamingo.errors import UserError
from music_flamingo.models import EncoderCache, TinyMU
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.matpac.frontend import MatpacFrontend
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.models.tinymu import TinyMUConfig
from music_flamingo.models.tinymu.presets import build
from music_flamingo.rollout import HFEngine, SamplingParameters, SharedEngine
from tests.builders import ANSWERS, QUESTIONS, TEXTS, song

SONGS = [song(1.3, 0), song(11.0, 1), song(9.93, 2)]
_folder = TemporaryDirectory(prefix="music-flamingo-tests-")


@lru_cache
def directory() -> Path:
    torch.manual_seed(0)
    network, processor = build("tinymu-tiny", TEXTS)
    network.save_pretrained(_folder.name)
    processor.save_pretrained(_folder.name)
    return Path(_folder.name)


def chat() -> ConversationFormat:
    return ConversationFormat.from_directory(directory())


def asked_row(answers: tuple[str, ...] | None = ANSWERS) -> PackedBatch:
    form, model = chat(), load_model(str(directory()))
    row = RowBuilder(model.audio_token_id)
    for waveform in SONGS:
        windows = frontend_of(form.processor)(waveform)
        root = row.add(form.song_ids(windows), windows=windows)
        for number, question in enumerate(QUESTIONS):
            prompt = form.question_ids(question)
            answer = [] if answers is None else form.answer_ids(answers[number])
            row.add(prompt + answer, parent=root, train_from=len(prompt) if answer else None)
    return row.build()


def reads(song_number: int, text: str) -> dict[str, torch.Tensor]:
    """One question on one song as a user of transformers asks it."""
    processor = AutoProcessor.from_pretrained(directory())
    return dict(processor(text=[processor.audio_token + text], audio=[SONGS[song_number]]))


def test_a_packed_row_gives_transformers_logits_sample_by_sample() -> None:
    model = load_model(str(directory())).eval()
    assert isinstance(model, TinyMU)
    reference = AutoModelForMultimodalLM.from_pretrained(directory()).eval()
    row = asked_row()
    with torch.no_grad():
        logits = model.hidden_states(row) @ model.head_weight.T
        for number in range(len(SONGS)):
            for index, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
                positions = row.tree.row_positions(number * (1 + len(QUESTIONS)) + 1 + index)
                inputs = reads(number, f"{question}{answer}<|endoftext|>")
                assert row.input_ids[positions].tolist() == inputs["input_ids"][0].tolist()
                torch.testing.assert_close(logits[positions], reference(**inputs).logits[0], rtol=0, atol=1e-5)


def test_gradients_equal_those_of_plain_rows() -> None:
    shared = load_model(str(directory()))
    plain = AutoModelForMultimodalLM.from_pretrained(directory())
    logprobs, _ = shared.target_logprobs(asked_row())
    (-logprobs.sum()).backward()
    for number in range(len(SONGS)):
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
            inputs = reads(number, f"{question}{answer}<|endoftext|>")
            num_prompt = len(reads(number, question)["input_ids"][0])
            logits = plain(**inputs).logits[0].log_softmax(-1)
            targets = inputs["input_ids"][0, num_prompt:]
            (-logits[num_prompt - 1 : -1].gather(-1, targets[:, None]).sum()).backward()
    expected = dict(plain.named_parameters())
    for name, ours in shared.network.named_parameters():
        assert ours.grad is not None, name
        difference = (ours.grad - expected[name].grad).norm() / expected[name].grad.norm().clamp(min=1e-12)
        # A key's bias shifts all scores of a query alike: its gradient is rounding error around zero.
        assert difference <= 5e-5 or expected[name].grad.norm() < 1e-4, f"{name}: {difference:.1e}"


def test_the_shared_engine_gives_the_oracles_tokens() -> None:
    model, row = load_model(str(directory())).eval(), asked_row(None)
    sampling = SamplingParameters(max_new_tokens=6, temperature=0)
    audio = model.encode_audio(row) if row.audio is not None else None
    drawn, expected = (
        engine.sample(model, row, audio, sampling, chat().end_of_turn) for engine in (SharedEngine(), HFEngine())
    )
    assert [each.token_ids.tolist() for each in drawn] == [each.token_ids.tolist() for each in expected]


@pytest.mark.parametrize("seconds", [0.025, 0.5, 9.92, 9.94, 23.0])
def test_blocks_of_a_song_become_the_windows_of_the_whole(seconds: float) -> None:
    waveform = song(seconds)
    extractor = MatpacFeatureExtractor()
    frontend = MatpacFrontend(extractor)
    expected, windows = extractor(waveform, 16_000), frontend(waveform)
    np.testing.assert_allclose(windows.features, expected["input_features"], rtol=0, atol=1e-5)
    assert windows.lengths.tolist() == expected["attention_mask"].sum(1).tolist()
    assert frontend.mel_lengths(len(waveform)).tolist() == windows.lengths.tolist()
    assert windows.tokens.tolist() == [-(-length // 16) for length in windows.lengths.tolist()]
    with pytest.raises(UserError, match="at least 400 samples"):
        frontend(waveform[:399])


def test_a_frozen_encoder_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyMU(str(directory()), encoder_cache=EncoderCache(str(tmp_path), "float32")).eval()
    model.network.model.audio_tower.requires_grad_(False)
    windows = frontend_of(chat().processor)(SONGS[1])
    first = model.audio_features(windows)
    torch.testing.assert_close(first, load_model(str(directory())).eval().audio_features(windows))
    monkeypatch.setattr(model.network.model.audio_tower, "forward", None)
    assert torch.equal(model.audio_features(windows), first)


def test_an_exported_model_is_the_same(tmp_path: Path) -> None:
    model = load_model(str(directory()))
    export(model, str(directory()), tmp_path / "export")
    again = load_model(str(tmp_path / "export"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert type(chat().processor) is type(ConversationFormat.from_directory(tmp_path / "export").processor)


def test_a_preset_differs_from_the_published_model_in_sizes_alone() -> None:
    tiny, published = load_model(str(directory())).network.config.text_config, TinyMUConfig().text_config
    for name in ("model_type", "rope_parameters", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"):
        assert getattr(tiny, name) == getattr(published, name), name
