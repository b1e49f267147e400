import torch
from transformers.models.whisper.modeling_whisper import sinusoids

from music_flamingo.models.conversation_format import THINK_SUFFIX
from music_flamingo.models.presets import build_config, build_network
from tests.builders import chat, processor, tiny_model


def test_an_untrained_encoder_can_tell_early_from_late() -> None:
    """transformers fills the frozen positions of a fresh AudioFlamingo3 encoder with noise of 0.02."""
    torch.manual_seed(0)
    positions = build_network(build_config("tiny", processor())).model.audio_tower.embed_positions.weight
    torch.testing.assert_close(positions, torch.nn.Parameter(sinusoids(500, 96)))
    assert not tiny_model().network.model.audio_tower.embed_positions.weight.requires_grad


def test_think_and_answer_tags_are_single_tokens_that_survive_decoding() -> None:
    form = chat()
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert len(form.encode(tag)) == 1
    text = "<think> with drums . </think> <answer> yes </answer>"
    assert form.decode(form.encode(text)) == text


def test_the_question_comes_after_the_song_and_asks_for_thoughts_only_when_wanted() -> None:
    form = chat()
    plain, thinking = form.question_ids("Are there drums?"), form.question_ids("Are there drums?", think=True)
    assert THINK_SUFFIX not in form.tokenizer.decode(plain)
    assert THINK_SUFFIX in form.tokenizer.decode(thinking)
    assert form.tokenizer.decode(plain).startswith("Are there drums?<|im_end|>")
