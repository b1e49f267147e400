"""The relatives on packed rows against transformers' forward on one question at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForMultimodalLM, AutoProcessor

from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.models import EncoderCache, MusicLanguageModel
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.models.recompute import recompute_long_rows
from music_flamingo.rollout import HFEngine, SamplingParameters, SharedEngine
from music_flamingo.rollout.rows import with_completions
from tests.builders import ANSWERS, QUESTIONS, preset_directory, song

SONGS = [song(1.3, 0), song(11.0, 1), song(9.93, 2), song(12.0, 3)]
PRESETS = ("tinymu-tiny", "audio-flamingo-2-tiny")


def directory(preset: str) -> str:
    return str(preset_directory(preset))


def chat(preset: str) -> ConversationFormat:
    return ConversationFormat.from_directory(directory(preset))


def asked_row(preset: str, answers: tuple[str, ...] | None = ANSWERS, *, deaf_song: bool = False) -> PackedBatch:
    """All questions on each song, between which a text without audio may stand."""
    form, model = chat(preset), load_model(directory(preset))
    row = RowBuilder(model.audio_token_id)
    for number, waveform in enumerate(SONGS):
        if deaf_song and number == 1:
            root = row.add(form.encode("are there drums?"))
            row.add(form.encode("what is the tempo?"), parent=root, train_from=1)
        windows = frontend_of(form.processor)(waveform)
        root = row.add(form.song_ids(windows), windows=windows)
        for index, question in enumerate(QUESTIONS):
            prompt = form.question_ids(question)
            answer = [] if answers is None else form.answer_ids(answers[index])
            row.add(prompt + answer, parent=root, train_from=len(prompt) if answer else None)
    return row.build()


def reads(preset: str, song_number: int, question: str, answer: str = "") -> dict[str, Tensor]:
    """One question on one song as a user of transformers asks it."""
    processor = AutoProcessor.from_pretrained(directory(preset))
    content = [{"type": "audio"}, {"type": "text", "text": question}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    messages += [{"role": "assistant", "content": answer}] if answer else []
    text = processor.apply_chat_template(messages, tokenize=False)
    return dict(processor(text=[text], audio=[SONGS[song_number]]))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_packed_row_gives_transformers_logits_sample_by_sample(preset: str) -> None:
    model = load_model(directory(preset)).eval()
    reference = AutoModelForMultimodalLM.from_pretrained(directory(preset)).eval()
    row = asked_row(preset)
    with torch.no_grad():
        logits = model.hidden_states(row) @ model.head_weight.T
        for number in range(len(SONGS)):
            for index, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
                positions = row.tree.row_positions(number * (1 + len(QUESTIONS)) + 1 + index)
                inputs = reads(preset, number, question, answer)
                assert row.input_ids[positions].tolist() == inputs["input_ids"][0].tolist()
                torch.testing.assert_close(logits[positions], reference(**inputs).logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_equal_those_of_plain_rows(preset: str) -> None:
    shared = load_model(directory(preset)).eval()
    plain = AutoModelForMultimodalLM.from_pretrained(directory(preset)).eval()
    logprobs, _ = shared.target_logprobs(asked_row(preset))
    (-logprobs.sum()).backward()
    for number in range(len(SONGS)):
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
            inputs = reads(preset, number, question, answer)
            num_prompt = len(reads(preset, number, question)["input_ids"][0])
            logits = plain(**inputs).logits[0].log_softmax(-1)
            targets = inputs["input_ids"][0, num_prompt:]
            (-logits[num_prompt - 1 : -1].gather(-1, targets[:, None]).sum()).backward()
    expected = dict(plain.named_parameters())
    for name, ours in shared.network.named_parameters():
        theirs = expected[name].grad
        difference = (ours.grad - theirs).norm() / theirs.norm().clamp(min=1e-12)
        # A key's bias shifts all scores of a query alike: its gradient is rounding error around zero.
        assert difference <= 2e-4 or theirs.norm() < 1e-4, f"{name}: {difference:.1e}"


@pytest.mark.parametrize("preset", PRESETS)
def test_layers_that_are_computed_again_give_the_same_gradients(preset: str) -> None:
    row, models = asked_row(preset), [load_model(directory(preset)).eval() for _ in range(2)]
    recompute_long_rows(models[1].network.model.language_model, 0, 100)
    for model in models:
        (-model.target_logprobs(row)[0].sum()).backward()
    assert row.tree.num_tokens > 100
    for kept, again in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(again.grad, kept.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_shared_engine_gives_the_oracles_tokens(preset: str) -> None:
    model, row = load_model(directory(preset)).eval(), asked_row(preset, None)
    sampling = SamplingParameters(max_new_tokens=6, temperature=0)
    audio, end = encoded(model, row), chat(preset).end_of_turn
    drawn = SharedEngine().sample(model, row, audio, sampling, end)
    expected = HFEngine().sample(model, row, None, sampling, end)
    assert [each.token_ids.tolist() for each in drawn] == [each.token_ids.tolist() for each in expected]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_trainer_gives_the_rollouts_log_probabilities(preset: str) -> None:
    model, row = load_model(directory(preset)).eval(), asked_row(preset, None)
    audio = encoded(model, row)
    sampling = SamplingParameters(max_new_tokens=5, temperature=1.0, num_generations=3)
    generator = torch.Generator().manual_seed(0)
    completions = SharedEngine().sample(model, row, audio, sampling, chat(preset).end_of_turn, generator)
    with torch.no_grad():
        packed, _ = with_completions(row, completions, model.audio_token_id)
        logprobs, _ = model.target_logprobs(packed)
    torch.testing.assert_close(logprobs, torch.cat([each.logprobs for each in completions]), rtol=0, atol=2e-5)


@torch.no_grad()
def encoded(model: MusicLanguageModel, row: PackedBatch) -> Tensor:
    return model.encode_audio(row)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_text_without_audio_is_its_language_models_alone(preset: str) -> None:
    model = load_model(directory(preset)).eval()
    row = asked_row(preset, deaf_song=True)
    plain = model.network.model.language_model
    with torch.no_grad():
        hidden = model.hidden_states(row)
        deaf = row.tree.roots()[1]
        places = row.tree.row_positions(deaf + 1)
        plain.set_attn_implementation("sdpa")
        alone = plain(input_ids=row.input_ids[places][None], use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(hidden[places], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_decoding_beside_a_text_without_audio_changes_nothing(preset: str) -> None:
    model, end = load_model(directory(preset)).eval(), chat(preset).end_of_turn
    sampling = SamplingParameters(max_new_tokens=4, temperature=0, num_generations=2)
    drawn = []
    for deaf_song in (False, True):
        row = asked_row(preset, None, deaf_song=deaf_song)
        drawn.append(SharedEngine().sample(model, row, encoded(model, row), sampling, end))
    alone, beside = ([each.token_ids.tolist() for each in completions] for completions in drawn)
    assert [tokens for number, tokens in enumerate(beside) if number not in (6, 7)] == alone


@pytest.mark.parametrize("preset", PRESETS)
def test_a_song_is_heard_by_what_is_below_it_and_by_nothing_else(preset: str) -> None:
    model = load_model(directory(preset)).eval()
    row = asked_row(preset)
    audio = encoded(model, row)
    first = slice(0, row.tree.slice_of(row.tree.roots()[1]).start)
    with torch.no_grad():
        before = model.hidden_states(row, audio)
        changed = audio.clone()
        changed[len(audio) // 2 :] += torch.randn(len(audio) - len(audio) // 2, audio.shape[1])
        after = model.hidden_states(row, changed)
    assert torch.equal(before[first], after[first])
    last = row.tree.slice_of(len(row.tree.lengths) - 1)
    assert not torch.allclose(before[last], after[last])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_frozen_encoder_is_asked_once(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(directory(preset)).eval()
    expected = model.audio_features(frontend_of(chat(preset).processor)(SONGS[1]))
    model.encoder_cache = EncoderCache(str(tmp_path), "float32")
    model.network.model.audio_tower.requires_grad_(False)
    windows = frontend_of(chat(preset).processor)(SONGS[1])
    first = model.audio_features(windows)
    torch.testing.assert_close(first, expected)
    monkeypatch.setattr(model.network.model.audio_tower, "forward", None)
    assert torch.equal(model.audio_features(windows), first)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_exported_model_is_the_same(preset: str, tmp_path: Path) -> None:
    model = load_model(directory(preset))
    replace_hf_directory(tmp_path / "export", model, directory(preset))
    again = load_model(str(tmp_path / "export"))
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert type(chat(preset).processor) is type(ConversationFormat.from_directory(tmp_path / "export").processor)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_auto_class_without_a_head_has_the_same_weights(preset: str) -> None:
    body = AutoModel.from_pretrained(directory(preset)).state_dict()
    whole = AutoModelForMultimodalLM.from_pretrained(directory(preset)).state_dict()
    assert body
    assert all(torch.equal(tensor, whole[f"model.{name}"]) for name, tensor in body.items())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_songs_embeddings_depend_on_all_that_is_not_frozen_behind_them(preset: str) -> None:
    model = load_model(directory(preset))
    model.freeze_behind_songs()
    embeddings = model.song_embeddings(asked_row(preset))
    assert len(embeddings) == len(SONGS)
    torch.stack([each.square().mean() for each in embeddings]).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
