"""Made-up checkpoints under published names become directories that load as models with the same outputs."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForMultimodalLM

from music_flamingo.cli import main
from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2 import published as audio_flamingo_2
from music_flamingo.models.converting import convert_command
from music_flamingo.models.matpac import MatpacConfig, MatpacFeatureExtractor, MatpacModel
from music_flamingo.models.matpac import published as matpac
from music_flamingo.models.matpac.model import fixed_positions
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration
from music_flamingo.models.tinymu import published as tinymu
from tests.golden import golden, sound, weight

Shapes = dict[str, tuple[int, ...]]
Run = Callable[[torch.nn.Module], Tensor]


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    return {name: weight(name, shape, scale=0.1) for name, shape in shapes.items()}


def matpac_shapes(width: int = 32, layers: int = 2, inner: int = 48, positions: int = 21) -> Shapes:
    """As the published encoder declares them, with what it saves beside them."""
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, positions, width),
        "patch_embed.proj.weight": (width, 1, 16, 16),
        "patch_embed.proj.bias": (width,),
        **{f"student_encoder.norm.{name}": (width,) for name in ("weight", "bias")},
        "log_mel.MelSpectrogram.mel_scale.fb": (201, 80),
        **{"head.weight": (7, width), "head.bias": (7,), "head_norm.running_mean": (width,)},
    }
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (inner, width)}
    for layer in range(layers):
        block = f"student_encoder.blocks.{layer}"
        for name, shape in {**linear, "mlp.fc2": (width, inner)}.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.{name}": (width,) for name in ("weight", "bias")}
    return shapes


def decoder_shapes(prefix: str, layer: str, layers: int, biases: bool) -> Shapes:
    """A Llama or Qwen2 of width 64 with four heads, half as many for keys and values, and 96 tokens."""
    shapes: Shapes = {f"{prefix}embed_tokens.weight": (96, 64), f"{prefix}norm.weight": (64,)}
    for number in range(layers):
        place = f"{prefix}layers.{number}.{layer}"
        for name, width in {"q": 64, "k": 32, "v": 32}.items():
            shapes[f"{place}self_attn.{name}_proj.weight"] = (width, 64)
            if biases:
                shapes[f"{place}self_attn.{name}_proj.bias"] = (width,)
        shapes |= {f"{place}self_attn.o_proj.weight": (64, 64), f"{place}mlp.down_proj.weight": (64, 80)}
        shapes |= {f"{place}mlp.{name}_proj.weight": (80, 64) for name in ("gate", "up")}
        shapes |= {f"{place}{name}_layernorm.weight": (64,) for name in ("input", "post_attention")}
    return shapes


def tinymu_checkpoint(two_layers: bool = True) -> dict[str, Tensor]:
    language_model = "text_decoder.lm.model."
    projector: Shapes = {"projector.linear1.weight": (64, 160), "projector.linear1.bias": (64,)}
    if two_layers:
        projector = {"projector.linear1.weight": (40, 160), "projector.linear1.bias": (40,)}
        projector |= {"projector.linear2.weight": (64, 40), "projector.linear2.bias": (64,)}
    encoder = {f"audio_encoder.enc.{name}": shape for name, shape in matpac_shapes().items()}
    state = drawn({**encoder, **projector, **decoder_shapes(language_model, "", 2, biases=False)})
    embedding = state[f"{language_model}embed_tokens.weight"]
    return {**state, "text_decoder.embed_fn.weight": embedding, "text_decoder.lm.lm_head.weight": embedding}


def clap_shapes() -> Shapes:
    """AF-CLAP's audio branch, 128 wide at its end: four stages, of which the second has two blocks."""
    shapes: Shapes = {
        **{f"bn0.{name}": (64,) for name in ("weight", "bias", "running_mean", "running_var")},
        "patch_embed.proj.weight": (16, 1, 4, 4),
        **{f"patch_embed.{name}": (16,) for name in ("proj.bias", "norm.weight", "norm.bias")},
        **{f"norm.{name}": (128,) for name in ("weight", "bias")},
        **{"head.weight": (7, 7), "patch_embed.mel_conv2d.bias": (16,)},
    }
    for stage in range(3):
        width = 16 * 2**stage
        shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
        shapes |= {f"layers.{stage}.downsample.norm.{name}": (4 * width,) for name in ("weight", "bias")}
    for stage, number in [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]:
        block, width, heads = f"layers.{stage}.blocks.{number}", 16 * 2**stage, (1, 2, 4, 8)[stage]
        linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        for name, (rows, columns) in linear.items():
            shapes[f"{block}.{name}.weight"] = (rows * width, columns * width)
            shapes[f"{block}.{name}.bias"] = (rows * width,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"{block}.{name}"] = (width,)
        shapes[f"{block}.attn.relative_position_bias_table"] = (225, heads)
    return shapes


def audio_flamingo_2_checkpoint(rotations: int | None = 32) -> dict[str, Tensor]:
    """With aliases; the transform is 128 wide, its heads 64 or 128, and every second layer of four hears."""
    shapes: Shapes = {f"audio_transformer_clap.layer_norm.{name}": (128,) for name in ("weight", "bias")}
    for layer in range(2):
        place = f"audio_transformer_clap.layer_stack.{layer}"
        shapes |= {f"{place}.slf_attn.{name}.weight": (128, 128) for name in ("w_qs", "w_ks", "w_vs", "fc")}
        shapes |= {f"{place}.pos_ffn.w_1.weight": (96, 128), f"{place}.pos_ffn.w_1.bias": (96,)}
        shapes |= {f"{place}.pos_ffn.w_2.weight": (128, 96), f"{place}.pos_ffn.w_2.bias": (128,)}
        for part in ("slf_attn", "pos_ffn"):
            shapes |= {f"{place}.{part}.layer_norm.{name}": (128,) for name in ("weight", "bias")}
    for layer in (1, 3):
        place = f"lang_encoder.model.layers.{layer}.gated_cross_attn_layer_sound"
        shapes |= {f"{place}.{norm}.{name}": (64,) for norm in ("attn.norm", "ff.0") for name in ("weight", "bias")}
        shapes |= {f"{place}.attn.to_q.weight": (192, 64), f"{place}.attn.to_kv.weight": (384, 128)}
        shapes |= {f"{place}.attn.to_out.weight": (64, 192), f"{place}.ff.1.weight": (256, 64)}
        shapes |= {f"{place}.ff.3.weight": (64, 256), f"{place}.attn_gate": (1,), f"{place}.ff_gate": (1,)}
    shapes |= decoder_shapes("lang_encoder.model.", "decoder_layer.", 4, biases=True)
    state = drawn({**shapes, **{f"clap.nvclap.{name}": shape for name, shape in clap_shapes().items()}})
    if rotations is not None:
        state["audio_transformer_clap.position_enc.inv_freq"] = torch.ones(rotations)
    aliases = {
        "lang_encoder.old_decoder_blocks.2.mlp.up_proj.weight": "layers.2.decoder_layer.mlp.up_proj.weight",
        "lang_encoder.gated_cross_attn_layers_sound.1.ff_gate": "layers.1.gated_cross_attn_layer_sound.ff_gate",
        "lang_encoder.lm_head.weight": "embed_tokens.weight",
    }
    return state | {alias: state[f"lang_encoder.model.{name}"].clone() for alias, name in aliases.items()}


AUDIO_CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "window_frames": 64,
}
TEXT_CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "tie_word_embeddings": True,
}
LLAMA = {
    **TEXT_CONFIG,
    "model_type": "llama",
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
}
QWEN = {
    **TEXT_CONFIG,
    "model_type": "qwen2",
    "num_hidden_layers": 4,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}
CLAP = {
    "patch_embeds_hidden_size": 16,
    "hidden_size": 128,
    "depths": [1, 2, 1, 1],
    "num_attention_heads": [1, 2, 4, 8],
    "hidden_dropout_prob": 0.0,
}


def directly(model: Any, weights: dict[str, Tensor]) -> Any:
    """The model filled without any file."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert {name for name in missing if "relative_position_index" not in name} <= {
        "lm_head.weight",
        "audio_tower.audio_encoder.batch_norm.num_batches_tracked",
    }
    model.tie_weights()
    return model.eval()


def encoder_output(model: Any) -> Tensor:
    features = torch.randn(2, 80, 50, generator=torch.Generator().manual_seed(0))
    return model(features).last_hidden_state


def tinymu_output(model: Any) -> Tensor:
    windows = MatpacFeatureExtractor(window_frames=64)(sound(0.7), 16_000)
    ids = torch.tensor([[16] * 5 + [0, 5, 9]])
    return model(
        input_ids=ids, input_features=windows["input_features"], input_features_mask=windows["attention_mask"]
    ).logits


def audio_flamingo_2_output(model: Any) -> Tensor:
    features = torch.randn(1, 1, 64, 1001, generator=torch.Generator().manual_seed(0))
    ids, mask = torch.tensor([[3, 5, 9]]), torch.ones(1, 1, 1001, dtype=torch.bool)
    return model(input_ids=ids, input_features=features, input_features_mask=mask).logits


@torch.no_grad()
def assert_same(loaded: Any, expected: Any, output: Run) -> None:
    assert torch.equal(output(loaded.eval()), output(expected))
    before, after = expected.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_encoder_of_a_training_checkpoint_is_the_one_filled_directly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = drawn(matpac_shapes())
    around = {"model": {f"module.{name}": each for name, each in state.items()}, "epoch": 3, "config": {"lr": 1e-3}}
    torch.save(around, tmp_path / "matpac.pt")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    words = ["convert", "matpac", tmp_path / "matpac.pt", "--out", tmp_path / "out", "--audio-head-dim", 8]
    assert main([str(word) for word in words]) == 0
    weights = {name: each for name, each in state.items() if not name.startswith(("head", "log_mel"))}
    expected = directly(MatpacModel(MatpacConfig(**AUDIO_CONFIG)), matpac.renamed(weights))
    assert_same(AutoModel.from_pretrained(tmp_path / "out"), expected, encoder_output)
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license == "mit"
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    assert isinstance(extractor, MatpacFeatureExtractor)
    assert (extractor.window_frames, extractor.patch_frames, extractor.feature_size) == (64, 16, 80)
    parameters = sum(each.numel() for name, each in weights.items() if name != "pos_embed")
    said, left_out, assumed, then = capsys.readouterr().out.splitlines()
    size = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    expected_line = f"{tmp_path / 'out'}: MatpacModel, {parameters:,} parameters, float32, {size / 1e6:.1f} MB"
    assert said == expected_line
    assert left_out.endswith(
        ": 4 tensors, head.bias, head.weight, head_norm.running_mean, log_mel.MelSpectrogram.mel_scale.fb"
    )
    assert assumed == "taken to be as published: 8 wide heads"
    assert then.startswith("next: python -c ")
    namespace: dict[str, Any] = {}
    exec(shlex.split(then.removeprefix("next: "))[2], namespace)
    assert sorted(os.listdir(tmp_path / "out")) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_the_published_width_and_positions_give_the_published_numbers(tmp_path: Path) -> None:
    shapes = matpac_shapes(768, 2, 3072, 191)
    state = {name: weight(name, shape) for name, shape in shapes.items()}
    save_file({**state, "pos_embed": fixed_positions(5, 38, 768)}, tmp_path / "matpac.safetensors")
    convert_command("matpac", tmp_path / "matpac.safetensors", tmp_path / "out")
    encoder = AutoModel.from_pretrained(tmp_path / "out").eval()
    windows = AutoFeatureExtractor.from_pretrained(tmp_path / "out")(sound(3.7), 16_000)
    heard = windows["input_features"][..., : int(windows["attention_mask"].sum())]
    with torch.no_grad():
        first, _ = encoder(heard, output_hidden_states=True).hidden_states
    expected = golden("matpac")["a3.7_nt608_precise_layers_every8tok_every32dim"][0]
    np.testing.assert_allclose(first[0, ::8, ::32][:, :24], expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("two_layers", "between"), [(True, 40), (False, None)])
def test_tinymu_is_the_one_filled_directly(tmp_path: Path, two_layers: bool, between: int | None) -> None:
    state = tinymu_checkpoint(two_layers)
    torch.save({"model": state, "optimizer": {"state": {}}, "config": {}, "epoch": 1}, tmp_path / "tinymu.pth")
    convert_command("tinymu", tmp_path / "tinymu.pth", tmp_path / "out", audio_head_dim=8, text_head_dim=16)
    config = TinyMUConfig(audio_config=AUDIO_CONFIG, text_config=LLAMA, projector_hidden_size=between)
    expected = directly(TinyMUForConditionalGeneration(config), tinymu.renamed(tinymu.used(state)))
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path / "out")
    assert isinstance(loaded, TinyMUForConditionalGeneration)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert loaded.config.text_config.rope_parameters["rope_theta"] == 1e5
    assert loaded.config.text_config.rms_norm_eps == 1e-5
    assert_same(loaded, expected, tinymu_output)


@pytest.mark.parametrize(("rotations", "heads"), [(32, 1), (16, 2), (None, 2)])
def test_audio_flamingo_2_of_a_folder_of_chunks_is_the_one_filled_directly(
    tmp_path: Path, rotations: int | None, heads: int
) -> None:
    state = audio_flamingo_2_checkpoint(rotations)
    (tmp_path / "chunks").mkdir()
    for number in range(3):
        chunk = dict(list(state.items())[number::3])
        save_file(chunk, tmp_path / "chunks" / f"{number}.safetensors")
    convert_command(
        "audio_flamingo_2",
        tmp_path / "chunks",
        tmp_path / "out",
        audio_head_dim=None if rotations == 32 else 64,  # 32 pairs are half of 128 dimensions
        text_head_dim=16,
    )
    config = AudioFlamingo2Config(
        audio_config=CLAP,
        text_config=QWEN,
        transform_layers=2,
        transform_heads=heads,
        transform_feed_forward=96,
        cross_attention_interval=2,
        cross_attention_heads=3,
    )
    expected = directly(
        AudioFlamingo2ForConditionalGeneration(config), audio_flamingo_2.renamed(audio_flamingo_2.used(state))
    )
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path / "out")
    assert isinstance(loaded, AudioFlamingo2ForConditionalGeneration)
    assert loaded.config.text_config.rope_parameters["rope_theta"] == 1e6
    assert loaded.config.text_config.rms_norm_eps == 1e-6
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "out").max_windows == loaded.config.max_windows
    assert_same(loaded, expected, audio_flamingo_2_output)


def test_af_clap_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    state = audio_flamingo_2_checkpoint()
    clap = {
        name.replace("clap.nvclap", "module.audio_branch"): each for name, each in state.items() if "clap.n" in name
    }
    alone = {name: each for name, each in state.items() if "clap.n" not in name}
    torch.save({"epoch": 16, "state_dict": {**clap, "module.logit_scale_a": torch.ones(())}}, tmp_path / "clap.pt")
    torch.save({"model_state_dict": alone}, tmp_path / "af2.bin")
    torch.save(state, tmp_path / "whole.bin")
    convert: dict[str, Any] = {"kind": "audio_flamingo_2", "text_head_dim": 16}
    with pytest.raises(UserError, match=r"af2\.bin: expected AF-CLAP's tensors too, got none: give its checkpoint"):
        convert_command(src=tmp_path / "af2.bin", out=tmp_path / "out", **convert)
    with pytest.raises(UserError, match=r"clap: expected a checkpoint without AF-CLAP's tensors"):
        convert_command(src=tmp_path / "whole.bin", out=tmp_path / "out", clap=tmp_path / "clap.pt", **convert)
    with pytest.raises(UserError, match=r"af2\.bin: expected AF-CLAP's audio_branch, got the names audio_transf"):
        convert_command(src=tmp_path / "af2.bin", out=tmp_path / "out", clap=tmp_path / "af2.bin", **convert)
    convert_command(src=tmp_path / "af2.bin", out=tmp_path / "out", clap=tmp_path / "clap.pt", **convert)
    convert_command(src=tmp_path / "whole.bin", out=tmp_path / "other", **convert)
    one, other = (AutoModelForMultimodalLM.from_pretrained(tmp_path / name).state_dict() for name in ("out", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_tensor_that_is_there_only_under_its_other_name_is_found() -> None:
    state = audio_flamingo_2_checkpoint()
    expected = audio_flamingo_2.renamed(audio_flamingo_2.used(state))
    del state["lang_encoder.model.layers.2.decoder_layer.mlp.up_proj.weight"]
    assert audio_flamingo_2.renamed(audio_flamingo_2.used(state)).keys() == expected.keys()


def test_numbers_in_half_precision_stay_so_and_mixed_ones_become_what_fits_all(tmp_path: Path) -> None:
    state = {name: each.bfloat16() for name, each in drawn(matpac_shapes()).items()}
    torch.save(state, tmp_path / "half.pt")
    convert_command("matpac", tmp_path / "half.pt", tmp_path / "half", audio_head_dim=8)
    assert AutoModel.from_pretrained(tmp_path / "half").dtype == torch.bfloat16
    torch.save({**state, "cls_token": state["cls_token"].half()}, tmp_path / "mixed.pt")
    convert_command("matpac", tmp_path / "mixed.pt", tmp_path / "mixed", audio_head_dim=8)
    mixed = AutoModel.from_pretrained(tmp_path / "mixed")
    assert {each.dtype for each in mixed.parameters()} == {torch.float32}


class RunsCode:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["matpac", "tinymu", "audio_flamingo_2"])
def test_code_in_a_checkpoint_is_refused_in_one_line_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, zipped: bool
) -> None:
    weights = {"matpac": MATPAC, "tinymu": TINYMU, "audio_flamingo_2": AF2}[kind]
    state = {"model": weights, "config": RunsCode(tmp_path / "ran")}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert main(["convert", kind, str(tmp_path / "a.pt"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a.pt: expected tensors and plain values, got code (posix.mkdir), which was not run: give a" in said
    assert sorted(os.listdir(tmp_path)) == ["a.pt"]
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("kept", [0, 5, 100, 2000, -30])
@pytest.mark.parametrize("name", ["a.pt", "old.pt", "a.safetensors"])
def test_a_truncated_file_is_refused_and_leaves_nothing(tmp_path: Path, name: str, kept: int) -> None:
    state = drawn(matpac_shapes())
    if name == "a.safetensors":
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=name == "a.pt")
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:kept])
    with pytest.raises(UserError, match=r"a\.|old\.") as refused:
        convert_command("matpac", tmp_path / name, tmp_path / "out", audio_head_dim=8)
    assert str(refused.value).startswith(f"{tmp_path / name}: expected ")
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == [name]


def test_a_folder_with_files_is_not_written_into_and_an_empty_one_is(tmp_path: Path) -> None:
    torch.save(drawn(matpac_shapes()), tmp_path / "a.pt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match=r"out: expected a new or empty folder, got one with files: give another"):
        convert_command("matpac", tmp_path / "a.pt", tmp_path / "out", audio_head_dim=8)
    assert os.listdir(tmp_path / "out") == ["mine"]
    (tmp_path / "out" / "mine").unlink()
    convert_command("matpac", tmp_path / "a.pt", tmp_path / "out", audio_head_dim=8)
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "out"]


def test_a_directory_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(drawn(matpac_shapes()), tmp_path / "a.pt")

    def fill_disk(_model: MatpacModel, folder: Path) -> None:
        (folder / "config.json").touch()
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(MatpacModel, "save_pretrained", fill_disk)
    with pytest.raises(UserError, match="out: expected to write a folder, got No space left on device: give another"):
        convert_command("matpac", tmp_path / "a.pt", tmp_path / "out", audio_head_dim=8)
    with pytest.raises(UserError, match="out: expected to write a folder, got Not a directory: give another"):
        convert_command("matpac", tmp_path / "a.pt", tmp_path / "a.pt" / "out", audio_head_dim=8)
    assert os.listdir(tmp_path) == ["a.pt"]


MATPAC, TINYMU, AF2 = drawn(matpac_shapes()), tinymu_checkpoint(), audio_flamingo_2_checkpoint()
NORM = "student_encoder.norm.bias"
FC1 = "student_encoder.blocks.1.mlp.fc1.weight"
TABLE = "clap.nvclap.layers.0.blocks.0.attn.relative_position_bias_table"
HEAD = "lang_encoder.lm_head.weight"
CROSS_NORM = "lang_encoder.model.layers.3.gated_cross_attn_layer_sound.attn.norm.bias"
TRANSFORM_KEYS = "audio_transformer_clap.layer_stack.1.slf_attn.w_ks.weight"


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        (
            "tinymu",
            MATPAC,
            "expected a TinyMU checkpoint, got the names cls_token, pos_embed, patch_embed.proj.weight, "
            "patch_embed.proj.bias, student_encoder.norm.weight and 29 more: give another file",
        ),
        ("matpac", TINYMU, "expected a MATPAC++ checkpoint, got the names audio_encoder.enc.cls_token, "),
        ("audio_flamingo_2", MATPAC, "expected an Audio Flamingo 2 checkpoint, got the names cls_token, "),
        (
            "matpac",
            {name: each for name, each in MATPAC.items() if name != NORM},
            "expected the 38 tensors of MatpacModel (by its names); missing: norm.bias: give another file",
        ),
        (
            "matpac",
            {**MATPAC, FC1: torch.zeros(50, 32), "student_encoder.norm.scale": torch.ones(32)},
            "left over: norm.scale; of another shape or kind: layers.1.mlp.fc1.weight of (50, 32) in place of (48, 32)",
        ),
        ("matpac", {**MATPAC, "pos_embed": torch.zeros(1, 20, 32)}, "got 20 rows of pos_embed"),
        ("matpac", {**MATPAC, "student_encoder.norm.bias": torch.zeros(32, dtype=torch.int8)}, "kind: norm.bias"),
        ("matpac", {"cls_token": torch.zeros(1, 1, 32)}, "expected the tensor patch_embedding.weight, which tells"),
        ("matpac", {**MATPAC, "cls_token": torch.zeros(())}, "expected class_token with a size in dimension -1"),
        (
            "matpac",
            {**MATPAC, "student_encoder.blocks.0.attn.qkv.bias": torch.zeros(95)},
            "expected student_encoder.blocks.0.attn.qkv.bias with queries, keys and values, got the shape (95,)",
        ),
        (
            "audio_flamingo_2",
            {**AF2, HEAD: AF2[HEAD] + 1},
            f"expected {HEAD} to hold the numbers of lang_encoder.model.embed_tokens.weight, got others",
        ),
        (
            "audio_flamingo_2",
            {name: each for name, each in AF2.items() if "gated" not in name},
            "expected cross-attention before layers of the language model, got none",
        ),
        (
            "audio_flamingo_2",
            {name: each for name, each in AF2.items() if name != CROSS_NORM},
            "tensors of AudioFlamingo2ForConditionalGeneration (by its names); missing: "
            "model.language_model.layers.3.cross_attention.norm.bias: give another file",
        ),
        (
            "audio_flamingo_2",
            {**AF2, TRANSFORM_KEYS: torch.zeros(128, 64), "lang_encoder.model.extra": torch.zeros(1)},
            "left over: model.language_model.extra; of another shape or kind: "
            "model.audio_transform.layers.1.k_proj.weight of (128, 64) in place of (128, 128)",
        ),
        (
            "audio_flamingo_2",
            {name: each for name, each in AF2.items() if "slf_attn.layer_norm" not in name},
            "missing: model.audio_transform.layers.0.attention_norm.bias",
        ),
        (
            "audio_flamingo_2",
            {**AF2, TABLE: torch.zeros(225, 3)},
            "expected sizes of AudioFlamingo2ForConditionalGeneration, got The hidden size (16) is not a multiple",
        ),
        (
            "matpac",
            {**MATPAC, "student_encoder.blocks.4000000000.norm1.weight": torch.zeros(32)},
            "left over: layers.4000000000.layernorm_before.weight",
        ),
        ("matpac", {"\x1b[1m\nname": torch.zeros(1)}, r"got the names '\x1b[1m\nname': give another file"),
        ("matpac", {"model": {}}, "expected a checkpoint's tensors, got none"),
        ("matpac", {"weights": MATPAC}, "alone or as model, state_dict, model_state_dict, got weights too"),
        ("matpac", [1], "expected tensors by name, got list"),
    ],
)
def test_what_a_file_lacks_or_has_too_much_is_named(tmp_path: Path, kind: str, state: Any, message: str) -> None:
    torch.save(state, tmp_path / "a.pt")
    options = {"audio_head_dim": 8} if kind == "matpac" else {"text_head_dim": 16}
    with pytest.raises(UserError) as refused:
        convert_command(kind, tmp_path / "a.pt", tmp_path / "out", **options)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'a.pt'}: ")
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("matpac", "a.pt", {}, "heads that fill a width of 32, got heads of 64: give --audio-head-dim"),
        ("matpac", "a.pt", {"audio_head_dim": 0}, "audio_head_dim: expected at least 1, got 0"),
        ("matpac", "a.pt", {"text_head_dim": 8}, "text_head_dim: matpac has no such part: leave it out"),
        ("tinymu", "a.pt", {"clap": Path("clap.pt")}, "clap: tinymu has no such part: leave it out"),
        ("audio_flamingo_2", "af2.pt", {"audio_head_dim": 32}, "expected heads with 64 rotated dimensions, as audio"),
        ("audio_flamingo_2", "narrow.pt", {}, "got no width: give --audio-head-dim, at most 64"),
        ("audio_flamingo_2", "af2.pt", {"text_head_dim": 64}, "fill a width of 32, got heads of 64: give --text-head"),
        ("tinymu", "odd.pt", {"audio_head_dim": 8, "text_head_dim": 16}, "share 2 heads of keys and a width of 64"),
        ("music_flamingo", "a.pt", {}, "kind: expected one of matpac, tinymu, audio_flamingo_2, got 'music_flamingo'"),
        ("matpac", "b.pt", {}, "b.pt: expected a checkpoint, got no such file"),
        ("matpac", "a.ckpt", {}, r"expected .safetensors, .pt, .pth, .bin or a folder, got .ckpt"),
        ("matpac", "empty", {}, "empty: expected chunks *.safetensors in the folder, got none"),
        ("matpac", "twice", {}, "expected each tensor in one chunk, got cls_token, head.bias, head.weight,"),
    ],
)
def test_settings_and_places_that_do_not_fit_are_refused(
    tmp_path: Path, kind: str, name: str, options: dict[str, Any], message: str
) -> None:
    torch.save(MATPAC, tmp_path / "a.pt")
    torch.save(AF2, tmp_path / "af2.pt")
    torch.save({**AF2, "audio_transformer_clap.position_enc.inv_freq": torch.ones(16)}, tmp_path / "narrow.pt")
    queries = "text_decoder.lm.model.layers.0.self_attn.q_proj.weight"
    torch.save({**TINYMU, queries: torch.zeros(48, 64)}, tmp_path / "odd.pt")
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for chunk in ("1", "2"):
        save_file(MATPAC, tmp_path / "twice" / f"{chunk}.safetensors")
    with pytest.raises(UserError) as refused:
        convert_command(kind, tmp_path / name, tmp_path / "out", **options)
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()
