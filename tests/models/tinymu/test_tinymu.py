"""TinyMU against the numbers that its published code gives: the full encoder and projector before a small Llama."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForMultimodalLM, BatchFeature, PreTrainedTokenizerFast

from music_flamingo.errors import UserError
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.matpac.model import fixed_positions
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration
from music_flamingo.models.tinymu.processor import TinyMUProcessor
from music_flamingo.models.tinymu.published import renamed, used
from tests.golden import golden, sound, weight
from tests.models.matpac.test_matpac import published_shapes

GOLDEN = golden("tinymu")
AUDIO, SEPARATOR, BANG, END = 511, 0, 17, 0
SMALL_LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
    "tie_word_embeddings": True,
}
TINY = {
    "audio_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "window_frames": 64,
    },
    "text_config": SMALL_LLAMA,
    "projector_hidden_size": 32,
    "audio_token_id": AUDIO,
}
SECONDS = (10.0, 3.7, 10.0)
"""What is heard of each example's song; of the third, 23 s long, the beginning."""


def published_checkpoint(width: int) -> dict[str, Tensor]:
    """As the published code declares it, made-up; the small language model where `width` is its width."""
    encoder = {name: weight(name, shape) for name, shape in published_shapes().items()}
    encoder["pos_embed"] = fixed_positions(5, 62, 768)
    state = {f"audio_encoder.enc.{name}": each for name, each in encoder.items()}
    layers = {"linear1": (2048, 3840), "linear2": (width, 2048)}
    for layer, (rows, columns) in layers.items():
        for name, shape in ((f"projector.{layer}.weight", (rows, columns)), (f"projector.{layer}.bias", (rows,))):
            state[name] = weight(name, shape)
    small = TinyMUConfig(text_config=SMALL_LLAMA, audio_config=TINY["audio_config"])
    for name, like in TinyMUForConditionalGeneration(small).model.language_model.state_dict().items():
        published = f"text_decoder.lm.model.{name}"
        state[published] = weight(published, tuple(like.shape), scale=0.1)
    embedding = state["text_decoder.lm.model.embed_tokens.weight"]
    return {**state, "text_decoder.embed_fn.weight": embedding, "text_decoder.lm.lm_head.weight": embedding}


@pytest.fixture(scope="module")
def model() -> TinyMUForConditionalGeneration:
    with torch.device("meta"):
        network = TinyMUForConditionalGeneration(TinyMUConfig(text_config=SMALL_LLAMA, audio_token_id=AUDIO))
    missing, unexpected = network.load_state_dict(renamed(used(published_checkpoint(64))), strict=False, assign=True)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    network.tie_weights()
    network.model.language_model.rotary_emb = type(network.model.language_model.rotary_emb)(network.config.text_config)
    return network.eval()


@pytest.fixture(scope="module")
def heard(model: TinyMUForConditionalGeneration) -> dict[float, Tensor]:
    """(A, 64) embeddings of each sound."""
    with torch.no_grad():
        found = {}
        for seconds in set(SECONDS):
            windows = MatpacFeatureExtractor()(sound(seconds), 16_000)
            output = model.get_audio_features(windows["input_features"], windows["attention_mask"])
            found[seconds] = output.pooler_output
        return found


def sequence(example: int) -> tuple[Tensor, int]:
    """(L,) tokens without padding, and where the target begins."""
    prompt, target = (torch.from_numpy(GOLDEN[f"ex{example}_{part}_ids"]) for part in ("prompt", "target"))
    num_audio = int(GOLDEN[f"ex{example}_layout_audio_sep_prompt_padend_target_end"][1])
    ids = torch.cat([torch.full((num_audio,), AUDIO), torch.tensor([SEPARATOR]), prompt, target])
    return ids, len(ids) - len(target)


@torch.no_grad()
def target_logits(model: TinyMUForConditionalGeneration, heard: Tensor, example: int) -> tuple[Tensor, Tensor]:
    """(T, V) logits of the target's tokens, and those tokens."""
    ids, start = sequence(example)
    embeddings = model.get_input_embeddings()(ids)
    embeddings[ids == AUDIO] = heard
    logits = model(inputs_embeds=embeddings[None]).logits[0]
    return logits[start - 1 : -1], ids[start:]


@pytest.fixture(scope="module")
def released() -> TinyMUProcessor:
    """In the released layout, with words `w5` for the tokens of which examples are given by number."""
    words = {"<|endoftext|>": END, "!": BANG, "<audio>": AUDIO}
    words |= {f"w{number}": number for number in set(range(512)) - set(words.values())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "additional_special_tokens": ["<audio>"]}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    return TinyMUProcessor(MatpacFeatureExtractor(), fast, audio_token="<audio>", layout="released")


def words(example: int, part: str) -> str:
    """Prompt or target of an example; of the target, without its end."""
    ids = GOLDEN[f"ex{example}_{part}_ids"].tolist()
    return " ".join("!" if number == BANG else f"w{number}" for number in ids[: -1 if part == "target" else None])


def asked(processor: TinyMUProcessor, example: int, **settings: object) -> BatchFeature:
    text = f"<audio> {words(example, 'prompt')}"
    return processor(text=[text], audio=[sound(SECONDS[example])], sampling_rate=16_000, **settings)


@pytest.mark.parametrize("seconds", sorted(set(SECONDS)))
def test_audio_embeddings_are_the_published_ones(heard: dict[float, Tensor], seconds: float) -> None:
    np.testing.assert_allclose(heard[seconds], GOLDEN[f"a{seconds:g}_proj64"], rtol=0, atol=1e-5)


def test_embeddings_of_the_published_width_are_the_published_ones(model: TinyMUForConditionalGeneration) -> None:
    windows = MatpacFeatureExtractor()(sound(10.0), 16_000)
    state = renamed({k: v for k, v in published_checkpoint(576).items() if k.startswith("projector")})
    parts = [state[f"model.multi_modal_projector.linear_{n}.{name}"] for n in (1, 2) for name in ("weight", "bias")]
    with torch.no_grad():
        encoded = [
            model.model.audio_tower(window[None, :, :frames]).last_hidden_state[0]
            for window, frames in zip(windows["input_features"], windows["attention_mask"].sum(1).tolist(), strict=True)
        ]
        between = torch.nn.functional.linear(torch.cat(encoded), parts[0], parts[1]).relu()
        embeddings = torch.nn.functional.linear(between, parts[2], parts[3])
    np.testing.assert_allclose(embeddings[::4], GOLDEN["a10_proj576_every4tok"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("example", range(3))
def test_logits_and_losses_without_padding_are_the_published_ones(
    model: TinyMUForConditionalGeneration, heard: dict[float, Tensor], example: int
) -> None:
    logits, target = target_logits(model, heard[SECONDS[example]], example)
    np.testing.assert_allclose(logits, GOLDEN[f"ex{example}_logits_compact_target_rows"], rtol=0, atol=1e-5)
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    kept, masked = (float(GOLDEN[f"ex{example}_loss_compact__bang_{what}"]) for what in ("kept", "masked"))
    assert float(losses.mean()) == pytest.approx(kept, abs=1e-5)
    assert float(losses[target != BANG].mean()) == pytest.approx(masked, abs=1e-5)


@pytest.mark.parametrize("example", range(3))
def test_the_released_layout_is_the_published_one(
    model: TinyMUForConditionalGeneration, released: TinyMUProcessor, example: int
) -> None:
    inputs = asked(released, example, answers=[words(example, "target")], output_labels=True)
    _, separator, prompt, padding, start, end, total = GOLDEN[
        f"ex{example}_layout_audio_sep_prompt_padend_target_end"
    ].tolist()
    target = torch.from_numpy(GOLDEN[f"ex{example}_target_ids"])
    ids, mask, labels = (inputs[name][0] for name in ("input_ids", "attention_mask", "labels"))
    assert ids[:separator].eq(AUDIO).all()
    assert (ids[separator], len(ids)) == (SEPARATOR, total)
    assert torch.equal(ids[prompt:padding], torch.from_numpy(GOLDEN[f"ex{example}_prompt_ids"]))
    assert torch.equal(ids[start:end], target)
    assert ids[padding:start].eq(BANG).all()
    assert ids[end:].eq(BANG).all()
    assert mask.tolist() == [1] * padding + [0] * (start - padding) + [1] * (end - start) + [0] * (total - end)
    assert torch.equal(labels[start:end], target.where(target != BANG, -100))
    assert labels[:start].eq(-100).all()
    assert labels[end:].eq(-100).all()
    with torch.no_grad():
        output = model(**inputs)
    expected = GOLDEN[f"ex{example}_logits_public_target_rows"]
    np.testing.assert_allclose(output.logits[0, start - 1 : end - 1], expected, rtol=0, atol=1e-5)
    assert float(output.loss) == pytest.approx(float(GOLDEN[f"ex{example}_loss_public"]), abs=1e-5)
    losses = torch.nn.functional.cross_entropy(output.logits[0, start - 1 : end - 1], target)
    assert float(losses) == pytest.approx(float(GOLDEN[f"ex{example}_loss_pad_in_middle__bang_kept"]), abs=1e-5)


def test_a_released_batch_has_the_published_loss(
    model: TinyMUForConditionalGeneration, released: TinyMUProcessor
) -> None:
    sounds = [sound(10.0), np.pad(sound(3.7), (0, 160_000 - 59_200))]
    texts, answers = zip(*((f"<audio> {words(n, 'prompt')}", words(n, "target")) for n in range(2)), strict=True)
    inputs = released(list(texts), sounds, True, list(answers), sampling_rate=16_000)
    assert list(inputs["input_ids"].shape) == GOLDEN["batch2_seq_len"].tolist()
    assert inputs["labels"].ne(-100).sum(1).tolist() == GOLDEN["batch2_label_count"].tolist()
    with torch.no_grad():
        assert float(model(**inputs).loss) == pytest.approx(float(GOLDEN["batch2_loss_public"]), abs=1e-5)


@pytest.mark.parametrize("examples", [[0], [1], [0, 1]])
def test_generating_in_the_released_layout_goes_through_the_published_logits(
    model: TinyMUForConditionalGeneration, released: TinyMUProcessor, examples: list[int]
) -> None:
    targets = [GOLDEN[f"ex{example}_target_ids"].tolist() for example in examples]
    inputs = released(
        [f"<audio> {words(example, 'prompt')}" for example in examples],
        [sound(SECONDS[example]) for example in examples],
        sampling_rate=16_000,
    )
    start, steps = inputs["input_ids"].shape[1], min(map(len, targets))
    generated = model.generate(
        **inputs,
        prefix_allowed_tokens_fn=lambda row, ids: [targets[row][len(ids) - start]],
        max_new_tokens=steps,
        do_sample=False,
        pad_token_id=BANG,
        output_logits=True,
        return_dict_in_generate=True,
    )
    for row, example in enumerate(examples):
        logits = torch.stack([step[row] for step in generated.logits])
        expected = GOLDEN[f"ex{example}_logits_public_target_rows"][:steps]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_audio_takes_the_places_of_its_tokens(
    model: TinyMUForConditionalGeneration, heard: dict[float, Tensor]
) -> None:
    windows = MatpacFeatureExtractor()(sound(3.7), 16_000)
    ids, start = sequence(1)
    with torch.no_grad():
        logits = model(
            input_ids=ids[None],
            input_features=windows["input_features"],
            input_features_mask=windows["attention_mask"],
        ).logits[0]
    expected, _ = target_logits(model, heard[3.7], 1)
    torch.testing.assert_close(logits[start - 1 : -1], expected)


def test_tinymu_has_229_million_parameters() -> None:
    with torch.device("meta"):
        network = TinyMUForConditionalGeneration(TinyMUConfig())
    network.tie_weights()
    positions = network.model.audio_tower.positions.numel()
    assert sum(p.numel() for p in network.parameters()) + positions == 85_492_992 + 9_046_592 + 134_515_008


def test_the_papers_projector_is_one_layer() -> None:
    network = TinyMUForConditionalGeneration(TinyMUConfig(**{**TINY, "projector_hidden_size": None}))
    assert [tuple(p.shape) for p in network.model.multi_modal_projector.parameters()] == [(64, 80), (64,)]


def test_a_saved_model_is_the_same_and_the_auto_class_finds_it(tmp_path: Path) -> None:
    network = TinyMUForConditionalGeneration(TinyMUConfig(**TINY)).eval()
    network.save_pretrained(tmp_path)
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, TinyMUForConditionalGeneration)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    for (name, before), (other, after) in zip(network.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(before, after)


def test_greedy_answers_follow_the_audio() -> None:
    torch.manual_seed(0)
    network = TinyMUForConditionalGeneration(TinyMUConfig(**TINY)).eval()
    windows = MatpacFeatureExtractor(window_frames=64)(sound(1.0), 16_000)
    ids = torch.tensor([[AUDIO] * 7 + [SEPARATOR, 5, 9]])
    given = {"input_features": windows["input_features"], "input_features_mask": windows["attention_mask"]}
    answer = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False, **given
    )
    for place in range(ids.shape[1], answer.shape[1]):
        with torch.no_grad():
            logits = network(input_ids=answer[:, :place], attention_mask=None, **given).logits
        assert int(logits[0, -1].argmax()) == int(answer[0, place])


def test_a_checkpoint_of_something_else_is_refused_by_its_names() -> None:
    with pytest.raises(UserError, match=r"expected a TinyMU checkpoint, got the names lm\.weight: give another file"):
        renamed({"lm.weight": torch.zeros(1)})
