"""A converted checkpoint with its language model's tokenizer can be asked and trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor

from music_flamingo.batch import RowBuilder
from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Processor
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.converting import convert_command
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.models.presets import train_tokenizer
from music_flamingo.models.tinymu import TinyMUProcessor
from tests.builders import TEXTS, song
from tests.models.test_converting import audio_flamingo_2_checkpoint, tinymu_checkpoint

ADDED = ["<audio>", "<|endofchunk|>", "<|PAD_TOKEN|>", "<SEP>"]
KINDS: dict[str, dict[str, Any]] = {
    "audio_flamingo_2": {"text_head_dim": 16},
    "tinymu": {"text_head_dim": 16, "audio_head_dim": 8},
}
SPECIAL = {"audio_flamingo_2": ("<|endoftext|>",), "tinymu": ("<|endoftext|>", "<empty_output>")}


def tokenizer_directory(folder: Path, special: tuple[str, ...]) -> tuple[Path, int]:
    """As Qwen2.5's or SmolLM2's, and how many tokens it has."""
    tokenizer = train_tokenizer(TEXTS, 280, special, "<|endoftext|>")
    tokenizer.save_pretrained(folder / "language_model")
    return folder / "language_model", len(tokenizer)


def checkpoint(folder: Path, kind: str, rows: int) -> Path:
    """Made-up, with so many embedding rows."""
    state = audio_flamingo_2_checkpoint() if kind == "audio_flamingo_2" else tinymu_checkpoint()
    embedding = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
    state = {name: embedding if each.shape == (96, 64) else each for name, each in state.items()}
    torch.save(state, folder / "published.pt")
    return folder / "published.pt"


def converted(folder: Path, kind: str, spare_rows: int = 0) -> Path:
    directory, tokens = tokenizer_directory(folder, SPECIAL[kind])
    rows = tokens + spare_rows + (len(ADDED) if kind == "audio_flamingo_2" else 0)
    src, out = checkpoint(folder, kind, rows), folder / "out"
    convert_command(kind, src, out, tokenizer=directory, **KINDS[kind])
    return out


def test_audio_flamingo_2_gets_its_tokens_behind_those_of_its_language_model(tmp_path: Path) -> None:
    out = converted(tmp_path, "audio_flamingo_2")
    processor = AutoProcessor.from_pretrained(out)
    assert isinstance(processor, AudioFlamingo2Processor)
    before = json.loads((tmp_path / "language_model" / "tokenizer.json").read_text())
    first = len(before["model"]["vocab"]) + sum(
        token["content"] not in before["model"]["vocab"] for token in before["added_tokens"]
    )
    ids = processor.tokenizer.convert_tokens_to_ids(ADDED)
    assert ids == list(range(first, first + 4))
    config = json.loads((out / "config.json").read_text())
    assert [config["audio_token_id"], config["eos_token_id"], config["pad_token_id"]] == ids[:3]
    assert config["text_config"]["vocab_size"] == first + 4 == len(processor.tokenizer)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == ids[1]
    assert processor.max_audio_len == 300


def test_what_is_asked_of_it_is_written_in_small_letters(tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(converted(tmp_path, "audio_flamingo_2"))
    question = [{"type": "audio"}, {"type": "text", "text": "Are there DRUMS?"}]
    text = processor.apply_chat_template([{"role": "user", "content": question}], tokenize=False)
    ids = processor(text=[text], audio=[song(0.5)])["input_ids"][0]
    assert processor.tokenizer.decode(ids) == "<audio>are there drums?<SEP>"
    assert [int(ids[0]), int(ids[-1])] == processor.tokenizer.convert_tokens_to_ids(["<audio>", "<SEP>"])


def test_audio_flamingo_2_loads_as_a_model_that_rows_train(tmp_path: Path) -> None:
    out = converted(tmp_path, "audio_flamingo_2", spare_rows=3)
    model, form = load_model(str(out)), ConversationFormat.from_directory(out)
    windows = frontend_of(form.processor)(song(1.0))
    row = RowBuilder(model.audio_token_id)
    root = row.add(form.song_ids(windows), windows=windows)
    prompt = form.question_ids("Are there drums?")
    row.add(prompt + form.answer_ids("yes"), parent=root, train_from=len(prompt))
    logprobs, _ = model.target_logprobs(row.build())
    logprobs.sum().backward()
    assert logprobs.isfinite().all()
    assert model.head_weight.grad is not None


def test_tinymu_gets_the_layout_of_its_released_weights_and_its_own_tokens(tmp_path: Path) -> None:
    out = converted(tmp_path, "tinymu")
    processor = AutoProcessor.from_pretrained(out)
    assert isinstance(processor, TinyMUProcessor)
    assert processor.layout == "released"
    config = load_model(str(out)).network.config
    assert (config.audio_token_id, config.separator_token_id) == (processor.audio_token_id, 0)
    inputs = processor(text=["<empty_output>are there drums?"], audio=[song(1.0)])
    model = load_model(str(out)).eval()
    model.network.set_attn_implementation("sdpa")
    with torch.no_grad():
        assert model.network(**inputs).logits.isfinite().all()


def test_the_command_says_how_many_rows_have_tokens_or_that_there_is_no_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, tokens = tokenizer_directory(tmp_path, SPECIAL["tinymu"])
    src = checkpoint(tmp_path, "tinymu", tokens + 5)
    words = ["convert", "tinymu", str(src), "--text-head-dim", "16", "--audio-head-dim", "8", "--out"]
    assert main([*words, str(tmp_path / "with"), "--tokenizer", str(directory)]) == 0
    assert f"tokenizer: {tokens} tokens for {tokens + 5} embedding rows" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "without")]) == 0
    assert "without a processor, so it cannot be asked or trained: give --tokenizer" in capsys.readouterr().out
    with pytest.raises(UserError, match="tokenizer_config.json does not exist"):
        load_model(str(tmp_path / "without"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_with_more_tokens_than_the_checkpoint_has_rows_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer: expected at most \d+ tokens, the checkpoint's embedding rows"):
        converted(tmp_path, kind, spare_rows=-1)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_without_tinymus_tokens_is_refused(tmp_path: Path) -> None:
    directory, tokens = tokenizer_directory(tmp_path, ("<|endoftext|>",))
    src = checkpoint(tmp_path, "tinymu", tokens)
    with pytest.raises(UserError, match="expected the tokens .* got none named <empty_output>: give the directory"):
        convert_command("tinymu", src, tmp_path / "out", tokenizer=directory, **KINDS["tinymu"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a directory with tokenizer.json, but .* does not exist"),
        ('{"model": {"vocab": {"a', "expected JSON in .*json, got Unterminated string .*: download it again"),
        ("version https://git-lfs.github.com/spec/v1", "expected JSON in .*json, got Expecting value"),
        ('{"model": {"type": "Unigram", "vocab": []}}', "expected a BPE model with vocab and merges in"),
        ("[1]", "expected a BPE model with vocab and merges in"),
    ],
)
def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    directory = tmp_path / "language_model"
    directory.mkdir()
    if content is not None:
        (directory / "tokenizer.json").write_text(content)
    src = checkpoint(tmp_path, "audio_flamingo_2", 300)
    with pytest.raises(UserError, match=f"^tokenizer: {message}") as refused:
        convert_command("audio_flamingo_2", src, tmp_path / "out", tokenizer=directory, **KINDS["audio_flamingo_2"])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_model_without_text_takes_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer: matpac has no such part: leave it out"):
        convert_command("matpac", tmp_path / "a.pt", tmp_path / "out", tokenizer=tmp_path)
