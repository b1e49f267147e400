from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Recording

from music_flamingo.batch import PackedBatch
from music_flamingo.data_modules.conversation_rows import ConversationDataset
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.data_modules.styles import ConversationStyle, DirectAnswers, WrittenThoughts
from music_flamingo.models.cost_model import row_workload
from tests.builders import chat, frontend, song

QUESTION = {"task": "qa", "question_name": "drums", "form": "open"}


def cut(folder: Path, *seconds: float, **conversation: Any):
    """A song, and the sounds heard after it."""
    recordings = []
    for number, length in enumerate(seconds):
        path = folder / f"{number}.wav"
        soundfile.write(path, song(length, seed=number), 16_000)
        recordings.append(Recording.from_file(path))
    made = recordings[0].to_cut()
    made.custom = {f"sound_{number}": each for number, each in enumerate(recordings[1:], 2)}
    made.custom["conversations"] = [{"id": "c", **QUESTION, **conversation}]
    return made


def dataset(style: ConversationStyle) -> ConversationDataset:
    store = FeatureStore(frontend(), None, max_seconds=60.0, shorten=False)
    return ConversationDataset(chat(), store, style, per_song=None, prompts_only=False, seed=0)


def trained(row: PackedBatch, *, weight: float) -> str:
    return chat().tokenizer.decode(row.targets.token_ids[row.targets.weights == weight])


def test_all_turns_are_in_the_row_as_the_template_writes_them_and_answers_alone_are_trained(tmp_path: Path) -> None:
    turns = [("Are there drums?", "yes"), ("What is the tempo?", "fast tempo"), ("Which instrument?", "the flute")]
    follow_ups = [{"question": question, "answer": answer} for question, answer in turns[1:]]
    asked = cut(tmp_path, 3.0, question=turns[0][0], answer=turns[0][1], follow_ups=follow_ups)
    row = dataset(DirectAnswers())[[asked]]
    messages = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": turns[0][0]}]}]
    messages.append({"role": "assistant", "content": turns[0][1]})
    for question, answer in turns[1:]:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    written = chat().processor.apply_chat_template(messages, tokenize=False)
    assert chat().tokenizer.decode(row.input_ids).replace("<sound>" * 75, "<sound>") + "\n" == written.replace(
        "<sound>", "<|sound_bos|><sound><|sound_eos|>"
    )
    assert trained(row, weight=1.0) == "".join(f"{answer}<|im_end|>" for _, answer in turns)
    assert row_workload(row) == dataset(DirectAnswers()).workload(asked)


def test_several_sounds_stand_one_after_the_other_each_with_its_own_time(tmp_path: Path) -> None:
    heard = cut(tmp_path, 12.0, 3.0, question="Which is faster, <sound-1> or <sound-2>?", answer="the first")
    row = dataset(DirectAnswers())[[heard]]
    assert row.audio is not None
    assert row.audio.indices.tolist() == [0, 1, 0]
    assert row.audio.lengths.tolist() == [1000, 200, 300]
    text = chat().tokenizer.decode(row.segment_ids(0))
    runs = [len(part) // len("<sound>") for part in text.split("<|sound_bos|>")[1:]]
    assert [part.count("<sound>") for part in text.split("<|sound_bos|>")[1:]] == [300, 75], runs
    alone = dataset(DirectAnswers()).store.windows(heard)
    assert torch.equal(row.audio.features[:2], alone.features)
    assert row_workload(row) == dataset(DirectAnswers()).workload(heard)


def test_written_thoughts_are_trained_with_their_answer(tmp_path: Path) -> None:
    thoughts = {"thoughts": "at 0 s the flute begins .", "bridge": "hence , the final answer is :"}
    row = dataset(WrittenThoughts())[[cut(tmp_path, 3.0, question="Which instrument?", answer="the flute", **thoughts)]]
    assert trained(row, weight=1.0).replace(" ", "") == (
        "<think>at0stheflutebegins.</think>hence,thefinalansweris:<answer>theflute</answer><|im_end|>"
    )
    without = dataset(WrittenThoughts())
    assert len(without[[cut(tmp_path, 3.0, question="Which instrument?", answer="the flute")]].targets) == 0
    assert without.dropped == 1


def test_equal_cut_ids_of_two_corpora_keep_features_of_their_own(tmp_path: Path) -> None:
    store = FeatureStore(frontend(), tmp_path / "features", max_seconds=60.0, shorten=False)
    features = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        soundfile.write(folder / "0.wav", np.sin(np.arange(16_000) / (5 if name == "a" else 9)), 16_000)
        features.append(store.windows(Recording.from_file(folder / "0.wav").to_cut()).features)
    assert features[0].shape == features[1].shape
    assert not torch.equal(*features)


@pytest.mark.parametrize("question", ["<sound> and then?"])
def test_a_further_question_holds_no_audio(tmp_path: Path, question: str) -> None:
    follow_ups = [{"question": question, "answer": "yes"}]
    with pytest.raises(ValueError, match="question holds '<sound>'"):
        dataset(DirectAnswers())[[cut(tmp_path, 3.0, question="Drums?", answer="yes", follow_ups=follow_ups)]]
