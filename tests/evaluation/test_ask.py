import shutil
from pathlib import Path

import pytest
import soundfile

from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.evaluation.ask import answer
from music_flamingo.rollout import SamplingParameters
from tests.builders import chat, hf_model, model_directory, processor, song


@pytest.fixture
def song_file(tmp_path: Path) -> Path:
    path = tmp_path / "song.flac"
    soundfile.write(path, song(23.0), 16_000, subtype="PCM_24")
    return path


def test_the_answer_is_what_transformers_generates_for_the_song(song_file: Path) -> None:
    question = "Are there drums?"
    content = [{"type": "audio"}, {"type": "text", "text": question}]
    text = processor().apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    waveform, _ = soundfile.read(song_file, dtype="float32")
    inputs = processor()(text=[text], audio=[waveform])
    output = hf_model().generate(**inputs, max_new_tokens=9, do_sample=False, eos_token_id=chat().end_of_turn)
    expected = chat().decode(output[0, inputs["input_ids"].shape[1] :])
    assert answer(song_file, question, model_directory(), think=False, sampling=SamplingParameters(9, 0.0)) == expected


def test_a_model_directory_without_processor_ends_with_one_line(
    song_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(model_directory() / "config.json", tmp_path)
    shutil.copy(model_directory() / "tokenizer_config.json", tmp_path)
    assert main(["ask", "--model", str(tmp_path), str(song_file), "Are there drums?"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert "processor_config.json does not exist" in error[0]


def test_a_missing_song_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--model", str(model_directory()), "nothing.mp3", "Are there drums?"]) == 2
    assert capsys.readouterr().err.startswith("error: nothing.mp3: expected an audio file")


def test_a_song_longer_than_the_processor_takes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, song(4.0).repeat(310), 16_000)
    with pytest.raises(UserError, match=r"long.wav: expected at most 1200 s, got 1240 s"):
        answer(path, "Are there drums?", model_directory(), think=False, sampling=SamplingParameters(4, 0.0))


def test_a_question_with_a_placeholder_is_refused(song_file: Path) -> None:
    with pytest.raises(UserError, match="question holds '<sound>'"):
        answer(song_file, "<sound> or <sound>?", model_directory(), think=False, sampling=SamplingParameters(4, 0.0))


def test_thoughts_are_shown_when_asked_for(song_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", "--model", str(model_directory()), str(song_file), "Are there drums?", "--max_new_tokens", "5"]
    assert main([*words, "--think"]) == 0
    assert capsys.readouterr().out
