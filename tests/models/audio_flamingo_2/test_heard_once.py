"""A song is encoded once, and its keys computed once, whatever is asked about it."""

from collections import Counter
from typing import Any

import pytest
import torch

from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.models import MusicLanguageModel
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.rollout import SamplingParameters, SharedEngine
from tests.builders import song
from tests.models.test_packed_rows import chat, directory

PRESET = "audio-flamingo-2-tiny"
LAYERS = 3


def asked(num_questions: int, *, answered: bool = True) -> PackedBatch:
    """A song of three windows."""
    form = chat(PRESET)
    windows = frontend_of(form.processor)(song(23.4))
    row = RowBuilder(form.processor.audio_token_id)
    root = row.add(form.song_ids(windows), windows=windows)
    for number in range(num_questions):
        prompt = form.question_ids(f"question {number}")
        answer = form.answer_ids("yes") if answered else []
        row.add(prompt + answer, parent=root, train_from=len(prompt) if answer else None)
    return row.build()


def counting(model: MusicLanguageModel) -> Counter[str]:
    """How often each layer computes keys, and how many windows the encoder is given."""
    calls: Counter[str] = Counter()
    body: Any = model.network.model

    def count_windows(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        calls["windows"] += len(given["input_features"])

    body.audio_tower.register_forward_pre_hook(count_windows, with_kwargs=True)
    for number, layer in enumerate(body.language_model.layers):

        def count_keys(_module: Any, _args: Any, name: str = f"keys of layer {number}") -> None:
            calls[name] += 1

        layer.cross_attention.kv_proj.register_forward_pre_hook(count_keys)
    return calls


@pytest.mark.parametrize("num_questions", [1, 4, 16])
def test_a_training_step_hears_a_song_once_whatever_the_number_of_questions(num_questions: int) -> None:
    model = load_model(directory(PRESET))
    calls = counting(model)
    logprobs, _ = model.target_logprobs(asked(num_questions))
    logprobs.sum().backward()
    assert calls == {"windows": 3, **{f"keys of layer {number}": 1 for number in range(LAYERS)}}
    assert model.windows_encoded == model.windows_with_gradient == 3


@pytest.mark.parametrize(("num_questions", "new_tokens"), [(1, 2), (4, 9)])
def test_a_rollout_hears_a_song_once_whatever_it_decodes(num_questions: int, new_tokens: int) -> None:
    model, row = load_model(directory(PRESET)).eval(), asked(num_questions, answered=False)
    calls = counting(model)
    sampling = SamplingParameters(max_new_tokens=new_tokens, temperature=1.0, num_generations=5)
    with torch.no_grad():
        audio = model.encode_audio(row)
    never = len(chat(PRESET).tokenizer)  # no completion ends early
    drawn = SharedEngine().sample(model, row, audio, sampling, never, torch.Generator().manual_seed(0))
    assert [len(each.token_ids) for each in drawn] == [new_tokens] * 5 * num_questions
    assert calls == {"windows": 3, **{f"keys of layer {number}": 1 for number in range(LAYERS)}}
    assert model.windows_encoded == 3
