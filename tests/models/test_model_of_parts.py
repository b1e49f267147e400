"""`init` makes models of published size of Hugging Face directories, whose weights they hold to the bit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from music_flamingo.batch import RowBuilder
from music_flamingo.cli import main
from music_flamingo.models import AFClap, AudioFlamingo2, MusicLanguageModel, model_of_parts
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.matpac import MatpacConfig, MatpacModel
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.models.presets import build_processor, train_tokenizer
from tests.builders import TEXTS, song

HTSAT = {
    "patch_embeds_hidden_size": 16,
    "hidden_size": 128,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 1, 1],
}
DECODER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
MATPAC = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 64}


@pytest.fixture(autouse=True)
def small_htsat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_of_parts, "HTSAT_LARGE", HTSAT)


def part(
    folder: Path,
    model: type[PreTrainedModel],
    config: PreTrainedConfig,
    special: Sequence[str] = ("<|endoftext|>",),
    spare_rows: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A model with a tokenizer, whose embedding may have more rows than there are tokens."""
    tokenizer = train_tokenizer(TEXTS, 280, special, special[0])
    tokenizer.pad_token = special[0]
    config.vocab_size = len(tokenizer) + spare_rows
    torch.manual_seed(1)
    network: Any = model(config)
    network.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen(folder: Path, spare_rows: int = 0, dtype: torch.dtype = torch.float32, *, tied: bool = True) -> Path:
    config = Qwen2Config(**DECODER, num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=tied)
    return part(folder / "qwen", Qwen2ForCausalLM, config, spare_rows=spare_rows, dtype=dtype)


def smollm(folder: Path) -> Path:
    config = LlamaConfig(**DECODER, num_key_value_heads=2, tie_word_embeddings=True)
    return part(folder / "smollm", LlamaForCausalLM, config, ("<|endoftext|>", "<empty_output>"))


def matpac(folder: Path) -> Path:
    torch.manual_seed(2)
    MatpacModel(MatpacConfig(**MATPAC)).save_pretrained(folder / "matpac")
    return folder / "matpac"


def audio_flamingo_3(folder: Path, spare_rows: int = 0) -> Path:
    """With its own processor, which writes nothing around a song."""
    theirs = build_processor(TEXTS, 280, num_mel_bins=8, window_seconds=10)
    tokenizer = train_tokenizer(TEXTS, 280, ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>"), "<|im_end|>")
    tokenizer.pad_token = "<|endoftext|>"
    processor = AudioFlamingo3Processor(theirs.feature_extractor, tokenizer, chat_template=theirs.chat_template)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    rows = {"vocab_size": len(tokenizer) + spare_rows, "num_key_value_heads": 1}
    config = AudioFlamingo3Config(
        audio_config={"model_type": "audioflamingo3_encoder", "num_mel_bins": 8, "max_source_positions": 500, **sizes},
        text_config={"model_type": "qwen2", **sizes, **rows},
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    torch.manual_seed(3)
    AudioFlamingo3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder / "af3")
    processor.save_pretrained(folder / "af3")
    return folder / "af3"


def init(preset: str, out: Path, **parts: Path) -> Path:
    words = [word for name, directory in parts.items() for word in (f"--{name.replace('_', '-')}", str(directory))]
    assert main(["init", "--preset", preset, "--out", str(out), *words]) == 0
    return out


def asked(model: MusicLanguageModel, directory: Path) -> torch.Tensor:
    """Loss of an answer about a song in a packed row."""
    form = ConversationFormat.from_directory(directory)
    windows = frontend_of(form.processor)(song(1.0))
    row = RowBuilder(model.audio_token_id)
    root = row.add(form.song_ids(windows), windows=windows)
    prompt = form.question_ids("Are there drums?")
    row.add(prompt + form.answer_ids("yes"), parent=root, train_from=len(prompt))
    return -model.target_logprobs(row.build())[0].sum()


@pytest.mark.parametrize("spare_rows", [0, 2, 9])
@torch.no_grad()
def test_music_flamingo_is_its_audio_flamingo_3_to_the_bit_and_knows_what_stands_around_a_song(
    tmp_path: Path, spare_rows: int
) -> None:
    directory = audio_flamingo_3(tmp_path, spare_rows)
    out = init("music-flamingo", tmp_path / "out", audio_flamingo_3=directory)
    plain = AudioFlamingo3ForConditionalGeneration.from_pretrained(directory, dtype="auto").state_dict()
    network = MusicFlamingoForConditionalGeneration.from_pretrained(out, dtype="auto")
    assert network.state_dict().keys() == plain.keys()
    for name, weight in network.state_dict().items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight[: len(plain[name])], plain[name]), name
    processor = AutoProcessor.from_pretrained(out)
    assert isinstance(processor, MusicFlamingoProcessor)
    assert len(processor.tokenizer) <= network.config.text_config.vocab_size
    ids = (processor.audio_token_id, processor.audio_bos_token_id, processor.audio_eos_token_id)
    config = network.config
    assert ids == (config.audio_token_id, config.audio_bos_token_id, config.audio_eos_token_id)
    assert len(set(ids)) == 3
    model = load_model(str(out)).eval()
    assert float(asked(model, out)) > 0
    assert model.time_embedding.__class__.__name__ == "CheckpointRoTE"


def test_the_licence_of_a_part_is_carried_over(tmp_path: Path) -> None:
    directory = audio_flamingo_3(tmp_path)
    licence = {"license": "other", "license_name": "nv", "license_link": "LICENSE"}
    lines = "\n".join(f"{key}: {value}" for key, value in licence.items())
    (directory / "README.md").write_text(f"---\n{lines}\nbase_model: some/base\n---\n# A part\n")
    (directory / "LICENSE").write_text("Not for sale.\n")
    init("music-flamingo", tmp_path / "out", audio_flamingo_3=directory)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert {key: card.data.get(key) for key in (*licence, "base_model")} == {**licence, "base_model": ["some/base"]}
    assert f"| {directory} | nv, LICENSE |" in card.text
    assert (tmp_path / "out" / "LICENSE").read_text() == "Not for sale.\n"


def test_a_directory_without_an_audio_flamingo_3_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["init", "--preset", "music-flamingo", "--out", str(tmp_path / "out"), "--audio-flamingo-3"]
    assert main([*given, str(qwen(tmp_path))]) == 2
    assert "processor_config.json does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("spare_rows", "dtype"), [(0, torch.float32), (9, torch.bfloat16)])
@torch.no_grad()
def test_audio_flamingo_2_is_its_language_model_to_the_bit(
    tmp_path: Path, spare_rows: int, dtype: torch.dtype, tied: bool
) -> None:
    directory = qwen(tmp_path, spare_rows, dtype, tied=tied)
    out = init("audio-flamingo-2", tmp_path / "out", language_model=directory)
    plain = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval()
    network, processor = (
        model_of_parts.AudioFlamingo2ForConditionalGeneration.from_pretrained(out, dtype="auto").eval(),
        AutoProcessor.from_pretrained(out),
    )
    ids = processor.tokenizer("which instrument enters first?", return_tensors="pt")["input_ids"]
    rows = plain.config.vocab_size
    windows = {"input_features": torch.randn(1, 1, 64, 1001).to(dtype), "input_features_mask": torch.ones(1, 1, 1001)}
    expected = plain(input_ids=ids).logits
    assert expected.dtype == dtype
    for given in ({}, windows):
        assert torch.equal(network(input_ids=ids, **given).logits[..., :rows], expected)
    assert network.config.text_config.vocab_size == max(rows, len(processor.tokenizer))
    assert (network.lm_head.weight is network.get_input_embeddings().weight) == tied


def test_audio_flamingo_2_has_its_tokens_and_trains(tmp_path: Path) -> None:
    directory = qwen(tmp_path)
    out = init("audio-flamingo-2", tmp_path / "out", language_model=directory)
    tokenizer = AutoProcessor.from_pretrained(out).tokenizer
    before = len(AutoTokenizer.from_pretrained(directory))
    added = tokenizer.convert_tokens_to_ids(["<audio>", "<|endofchunk|>", "<|PAD_TOKEN|>", "<SEP>"])
    assert added == list(range(before, before + 4))
    model = load_model(str(out))
    assert isinstance(model, AudioFlamingo2)
    config = model.network.config
    assert (config.audio_token_id, config.eos_token_id, config.pad_token_id) == tuple(added[:3])
    asked(model, out).backward()
    gates = [p.grad for name, p in model.network.named_parameters() if name.endswith("attention_gate")]
    assert len(gates) == 2
    assert all(gate is not None and gate.isfinite().all() and gate.any() for gate in gates)


@torch.no_grad()
def test_af_clap_reads_as_the_encoder_of_its_flan_t5(tmp_path: Path) -> None:
    config = T5Config(**T5, num_decoder_layers=1)
    directory = part(tmp_path / "t5", T5ForConditionalGeneration, config, ("<pad>", "</s>"))
    clap = AFClap(str(init("af-clap", tmp_path / "out", text_encoder=directory))).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    texts = ["the flute begins", "with drums"]
    tokens, theirs = clap.tokenizer(texts, padding=True), tokenizer(texts, padding=True)
    assert tokens["input_ids"] == theirs["input_ids"]
    given = {name: torch.tensor(theirs[name]) for name in ("input_ids", "attention_mask")}
    expected = T5EncoderModel.from_pretrained(directory).eval()(**given).last_hidden_state
    assert torch.equal(clap.network.text_tower(**given).last_hidden_state, expected)
    assert clap.embed_texts(texts).shape == (2, 512)


@torch.no_grad()
def test_tinymu_is_its_language_model_and_hears_with_its_encoder(tmp_path: Path) -> None:
    language_model, encoder = smollm(tmp_path), matpac(tmp_path)
    out = init("tinymu", tmp_path / "out", language_model=language_model, audio_encoder=encoder)
    network = model_of_parts.TinyMUForConditionalGeneration.from_pretrained(out).eval()
    processor = AutoProcessor.from_pretrained(out)
    assert processor.layout == "compact"
    ids = processor.tokenizer("which instrument enters first?", return_tensors="pt")["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(language_model).eval()
    assert torch.equal(network(input_ids=ids).logits, plain(input_ids=ids).logits)
    windows = torch.randn(1, 80, 64)
    expected = MatpacModel.from_pretrained(encoder).eval()(windows).last_hidden_state
    assert torch.equal(network.model.audio_tower(windows).last_hidden_state, expected)
    assert asked(load_model(str(out)), out).isfinite()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audio-flamingo-2"], "preset audio-flamingo-2: expected the options --language-model, got none"),
        (["tiny"], "preset tiny: expected the options --corpus, got none"),
        (
            ["tinymu", "--language-model", "{qwen}"],
            "preset tinymu: expected the options --language-model, --audio-encoder, got --language-model",
        ),
        (
            ["tinymu", "--language-model", "{qwen}", "--audio-encoder", "{qwen}"],
            "language_model: expected a llama in {qwen}, got 'qwen2': give another directory",
        ),
        (
            ["tinymu", "--language-model", "{smollm}", "--audio-encoder", "{smollm}"],
            "audio_encoder: expected a matpac in {smollm}, got 'llama': give another directory",
        ),
        (["audio-flamingo-2", "--language-model", "{tmp}"], "tokenizer: expected a directory with tokenizer.json"),
        (["audio-flamingo-2", "--language-model", "{bare}"], "language_model: expected weights as .safetensors in"),
        (["audio-flamingo-2", "--language-model", "{smollm}"], "language_model: expected a qwen2 in {smollm}, got 'l"),
        (["af-clap", "--text-encoder", "{tmp}"], "text_encoder: expected a Hugging Face directory, but {tmp}/config."),
        (["huge"], "preset: expected one of tiny, "),
    ],
)
def test_parts_that_are_not_there_or_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "bare").mkdir()
    made = {"tmp": tmp_path, "qwen": qwen(tmp_path), "smollm": smollm(tmp_path), "bare": qwen(tmp_path / "bare")}
    (made["bare"] / "model.safetensors").unlink()
    said = [word.format_map(made) for word in words]
    assert main(["init", "--out", str(tmp_path / "out"), "--preset", *said]) == 2
    error = capsys.readouterr().err
    assert f"error: {message.format_map(made)}" in error
    assert not (tmp_path / "out").exists()
