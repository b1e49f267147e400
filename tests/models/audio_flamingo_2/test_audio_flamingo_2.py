"""A small Audio Flamingo 2 against the numbers that its published code gives on given audio features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMultimodalLM

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2.cross_attention import HearingLayer, PaddedAudio
from music_flamingo.models.audio_flamingo_2.published import renamed, used
from tests.golden import golden, weight

GOLDEN = golden("af2")
WIDTH, AUDIO_WIDTH = 64, 128
SMALL = {
    "audio_config": {
        "patch_embeds_hidden_size": 16,
        "hidden_size": AUDIO_WIDTH,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "spec_size": 256,
    },
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": WIDTH,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
    },
    "transform_heads": 2,
    "transform_feed_forward": 96,
}
IDS, MASK = torch.from_numpy(GOLDEN["input_ids"]), torch.from_numpy(GOLDEN["attention_mask"])
LABELS = torch.from_numpy(GOLDEN["labels_public_rule"])
IS_TEXT = MASK.bool()


def published_checkpoint(interval: int = 1) -> dict[str, Tensor]:
    """As the published code declares it, made-up, with both gates at 0.5; AF-CLAP left out."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(3):
        prefix = f"audio_transformer_clap.layer_stack.{layer}"
        shapes |= {f"{prefix}.slf_attn.{name}.weight": (128, 128) for name in ("w_qs", "w_ks", "w_vs", "fc")}
        shapes |= {f"{prefix}.pos_ffn.w_1.weight": (96, 128), f"{prefix}.pos_ffn.w_1.bias": (96,)}
        shapes |= {f"{prefix}.pos_ffn.w_2.weight": (128, 96), f"{prefix}.pos_ffn.w_2.bias": (128,)}
        for norm in ("slf_attn", "pos_ffn"):
            shapes |= {f"{prefix}.{norm}.layer_norm.{name}": (128,) for name in ("weight", "bias")}
        cross = f"lang_encoder.model.layers.{layer}.gated_cross_attn_layer_sound"
        if (layer + 1) % interval == 0:
            shapes |= {f"{cross}.{norm}.{name}": (64,) for norm in ("attn.norm", "ff.0") for name in ("weight", "bias")}
            shapes |= {f"{cross}.attn.to_q.weight": (512, 64), f"{cross}.attn.to_kv.weight": (1024, 128)}
            shapes |= {f"{cross}.attn.to_out.weight": (64, 512)}
            shapes |= {f"{cross}.ff.1.weight": (256, 64), f"{cross}.ff.3.weight": (64, 256)}
        qwen = f"lang_encoder.model.layers.{layer}.decoder_layer"
        for name, width in (("q", 64), ("k", 32), ("v", 32)):
            shapes |= {
                f"{qwen}.self_attn.{name}_proj.weight": (width, 64),
                f"{qwen}.self_attn.{name}_proj.bias": (width,),
            }
        shapes |= {f"{qwen}.self_attn.o_proj.weight": (64, 64), f"{qwen}.mlp.down_proj.weight": (64, 128)}
        shapes |= {f"{qwen}.mlp.{name}_proj.weight": (128, 64) for name in ("gate", "up")}
        shapes |= {f"{qwen}.{name}_layernorm.weight": (64,) for name in ("input", "post_attention")}
    shapes |= {f"audio_transformer_clap.layer_norm.{name}": (128,) for name in ("weight", "bias")}
    shapes |= {"lang_encoder.model.norm.weight": (64,), "lang_encoder.model.embed_tokens.weight": (512, 64)}
    state = {name: weight(name, shape, scale=0.1) for name, shape in shapes.items()}
    for layer in range(interval - 1, 3, interval):
        for gate in ("attn_gate", "ff_gate"):
            state[f"lang_encoder.model.layers.{layer}.gated_cross_attn_layer_sound.{gate}"] = torch.tensor([0.5])
    return {**state, "lang_encoder.lm_head.weight": state["lang_encoder.model.embed_tokens.weight"]}


def built(interval: int = 1) -> AudioFlamingo2ForConditionalGeneration:
    model = AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config(**SMALL, cross_attention_interval=interval))
    missing, unexpected = model.load_state_dict(renamed(used(published_checkpoint(interval))), strict=False)
    assert unexpected == []
    assert {name.removeprefix("model.").partition(".")[0] for name in missing} == {"audio_tower", "lm_head"}
    return model.eval()


@pytest.fixture(scope="module")
def model() -> AudioFlamingo2ForConditionalGeneration:
    return built()


@torch.no_grad()
def heard(model: AudioFlamingo2ForConditionalGeneration) -> PaddedAudio:
    """Of two songs of two windows of eight tokens, of which the second song has one."""
    features = torch.from_numpy(GOLDEN["clap_features"]).flatten(1, 2)
    mask = torch.from_numpy(GOLDEN["window_mask"]).bool().repeat_interleave(8, 1)
    return model.model.hear(features, mask)


def assert_same_text(ours: Tensor, key: str) -> None:
    np.testing.assert_allclose(ours.detach()[IS_TEXT], GOLDEN[key][IS_TEXT.numpy()], rtol=0, atol=3e-5)


def test_what_is_heard_is_the_published(model: AudioFlamingo2ForConditionalGeneration) -> None:
    audio = heard(model)
    expected = GOLDEN["allmask_audio_transformer"][audio.mask.numpy()]
    np.testing.assert_allclose(audio.features[audio.mask], expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("key", ["allmask", "trainbug"])
@torch.no_grad()
def test_every_layer_is_the_published_one(model: AudioFlamingo2ForConditionalGeneration, key: str) -> None:
    audio = heard(model)
    if key == "trainbug":  # the published trainer lets all text hear the first audio token alone
        audio = replace(audio, mask=audio.mask & (torch.arange(16) == 0))
    seen: dict[str, Tensor] = {}
    hooks = []
    for number, layer in enumerate(model.model.language_model.layers):
        assert isinstance(layer, HearingLayer)
        assert layer.cross_attention is not None

        def keep(name: str):
            return lambda _module, _inputs, output: seen.update({name: output})

        hooks.append(layer.cross_attention.register_forward_hook(keep(f"layer{number}_gated_xattn")))
        hooks.append(layer.register_forward_hook(keep(f"layer{number}_decoder")))
    output = model(input_ids=IDS, attention_mask=MASK, audio=audio, labels=LABELS)
    for hook in hooks:
        hook.remove()
    for name, hidden in seen.items():
        assert_same_text(hidden, f"{key}_{name}")
    assert len(seen) == 6
    assert_same_text(output.logits, f"{key}_logits")
    assert float(output.loss) == pytest.approx(float(GOLDEN[f"{key}_loss"]), abs=3e-5)


@torch.no_grad()
def test_cross_attention_may_stand_before_every_second_layer() -> None:
    model = built(interval=2)
    output = model(input_ids=IDS, attention_mask=MASK, audio=heard(model), labels=LABELS)
    assert_same_text(output.logits, "every2_logits")
    assert float(output.loss) == pytest.approx(float(GOLDEN["every2_loss"]), abs=3e-5)


@torch.no_grad()
def test_with_closed_gates_the_model_is_its_language_model_to_the_bit() -> None:
    model = AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config(**SMALL)).eval()
    with_audio = model(input_ids=IDS, attention_mask=MASK, audio=heard(model)).logits
    assert torch.equal(with_audio, model(input_ids=IDS, attention_mask=MASK).logits)
    state = {
        name: each
        for name, each in renamed(used(published_checkpoint())).items()
        if "gate" not in name.rpartition(".")[2]
    }
    model.load_state_dict(state, strict=False)
    assert_same_text(
        model(input_ids=IDS, attention_mask=MASK, audio=heard(model)).logits, "gate0_logits_equal_plain_qwen2"
    )


def two_songs() -> dict[str, Tensor]:
    """Of two windows, and of one, each of which is padded."""
    frames = torch.tensor([[[1000], [250]], [[600], [0]]])
    features = torch.randn(2, 2, 64, 1001, generator=torch.Generator().manual_seed(0))
    return {"input_features": features, "input_features_mask": torch.arange(1001) < frames}


def test_greedy_answers_follow_the_audio(model: AudioFlamingo2ForConditionalGeneration) -> None:
    given = {name: each[:1] for name, each in two_songs().items()}
    ids = IDS[:1, :5]
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, **given)
    with torch.no_grad():
        for place in range(5, answer.shape[1]):
            logits = model(input_ids=answer[:, :place], **given).logits
            assert int(logits[0, -1].argmax()) == int(answer[0, place])
        silent = model(input_ids=ids).logits
        assert not torch.allclose(silent, model(input_ids=ids, **given).logits)


def test_several_answers_are_drawn_as_from_inputs_that_are_given_several_times(
    model: AudioFlamingo2ForConditionalGeneration,
) -> None:
    given = {"input_ids": IDS[:2, :5], "attention_mask": torch.ones_like(IDS[:2, :5]), **two_songs()}
    repeated = {name: each.repeat_interleave(3, 0) for name, each in given.items()}
    torch.manual_seed(1)
    drawn = model.generate(**given, max_new_tokens=6, do_sample=True, num_return_sequences=3)
    torch.manual_seed(1)
    assert torch.equal(drawn, model.generate(**repeated, max_new_tokens=6, do_sample=True))


@torch.no_grad()
def test_beam_search_finds_what_it_finds_by_definition(model: AudioFlamingo2ForConditionalGeneration) -> None:
    ids, audio = IDS[:1, :5].repeat(2, 1), heard(model)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "eos_token_id": 3, "pad_token_id": 3}
    found = model.generate(ids, attention_mask=torch.ones_like(ids), num_beams=3, audio=audio, **settings)
    songs = [PaddedAudio(audio.features[n : n + 1], audio.mask[n : n + 1]) for n in range(2)]
    best = [best_beam(model, IDS[0, :5].tolist(), song) for song in songs]
    assert found.tolist() == best
    assert best[0] != best[1]


def best_beam(model: AudioFlamingo2ForConditionalGeneration, ids: list[int], audio: PaddedAudio) -> list[int]:
    """The most likely of three beams of four tokens, none of them the end, from whole texts without a cache."""
    beams: list[tuple[float, list[int]]] = [(0.0, ids)]
    for _ in range(4):
        longer = []
        for score, beam in beams:
            logprobs = model(input_ids=torch.tensor([beam]), audio=audio).logits[0, -1].log_softmax(-1)
            logprobs[3] = -torch.inf
            likely = logprobs.topk(3)
            pairs = zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
            longer += [(score + value, [*beam, token]) for value, token in pairs]
        beams = sorted(longer, reverse=True)[:3]
    return beams[0][1]


@pytest.mark.parametrize("missing", ["input_features", "input_features_mask"])
def test_windows_without_their_mask_are_refused_and_a_mask_without_windows(
    model: AudioFlamingo2ForConditionalGeneration, missing: str
) -> None:
    given = {name: each[:1] for name, each in two_songs().items() if name != missing}
    for method in (model.forward, model.generate):
        with pytest.raises(UserError, match=rf"^expected {missing} beside {next(iter(given))}, got None: give both"):
            method(input_ids=IDS[:1, :5], **given)


def test_padding_inside_a_window_is_not_heard(model: AudioFlamingo2ForConditionalGeneration) -> None:
    features = torch.randn(1, 1, 64, 1001)
    audio = model.model.get_audio_features(features, torch.arange(1001)[None, None] < 250)
    assert int(audio.mask.sum()) == 16
    changed = replace(audio, features=torch.where(audio.mask[..., None], audio.features, torch.zeros(())))
    with torch.no_grad():
        logits = [model(input_ids=IDS[:1], audio=each).logits for each in (audio, changed)]
    torch.testing.assert_close(*logits)


def test_a_saved_model_is_the_same_and_the_auto_class_finds_it(
    model: AudioFlamingo2ForConditionalGeneration, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, AudioFlamingo2ForConditionalGeneration)
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        model = AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config())
    model.tie_weights()

    def count(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    assert count(model.model.audio_transform) == pytest.approx(75.5e6, rel=1e-3)
    cross = [count(layer.cross_attention) for layer in model.model.language_model.layers]
    assert len(cross) == 36
    assert cross[0] == pytest.approx(37.76e6, rel=1e-3)
    assert count(model) == pytest.approx(4.7e9, rel=0.02)


def test_a_checkpoint_of_something_else_is_refused_by_its_names() -> None:
    with pytest.raises(UserError, match=r"expected an Audio Flamingo 2 checkpoint, got the names lm\.weight"):
        renamed({"lm.weight": torch.zeros(1)})
