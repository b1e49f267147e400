"""Configurations and processors of freshly initialised models.

A preset is a configuration of transformers' own class; nothing else tells a tiny model from a full one.
"""

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.whisper.modeling_whisper import sinusoids

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>", "<|sound_bos|>", "<|sound_eos|>")
THINK_TOKENS = ("<think>", "</think>", "<answer>", "</answer>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'audio' %}<sound>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML with the audio before the text, as Music Flamingo's own template writes it."""

PRESETS: dict[str, dict[str, Any]] = {
    # About 0.7 million parameters; windows of 10 s, so that a ten-second clip costs no padding. At a width of 96 the
    # usual standard deviation of 0.02 would leave the convolutions' output far smaller than the positions added to it.
    "tiny": {
        "window_seconds": 10,
        "vocabulary": 1024,
        "audio": {
            "num_mel_bins": 64,
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 192,
            "init_std": 0.07,
        },
        "text": {
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            # Qwen2.5's, not transformers' default of 10,000: a question looks back over hundreds of audio tokens.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "initializer_range": 0.07,
        },
    },
    # About 4 million parameters, with Music Flamingo's own windows of 30 s: what the benchmarks of speed measure.
    "small": {
        "window_seconds": 30,
        "vocabulary": 1024,
        "audio": {
            "num_mel_bins": 128,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "init_std": 0.05,
        },
        "text": {
            "hidden_size": 256,
            "intermediate_size": 704,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "initializer_range": 0.05,
        },
    },
}


def build(preset: str, texts: Iterable[str]) -> tuple[MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor]:
    """An untrained model with a processor whose tokenizer is trained on `texts`."""
    size = PRESETS[preset]
    processor = build_processor(texts, size["vocabulary"], size["audio"]["num_mel_bins"], size["window_seconds"])
    return build_network(build_config(preset, processor)), processor


def build_config(preset: str, processor: MusicFlamingoProcessor) -> MusicFlamingoConfig:
    """Configuration of transformers' class at the size of a preset."""
    size = PRESETS[preset]
    tokenizer = processor.tokenizer
    frames = 100 * size["window_seconds"]
    special_ids: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return MusicFlamingoConfig(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            "max_source_positions": frames // 2,
            **size["audio"],
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            **special_ids,
            "bos_token_id": None,
            **size["text"],
        },
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
        **special_ids,
    )


def build_network(config: MusicFlamingoConfig) -> MusicFlamingoForConditionalGeneration:
    """Random weights, but Whisper's sinusoids as encoder positions.

    They are frozen, and transformers 5.23 fills them with small noise when AudioFlamingo3's encoder is not loaded from
    a checkpoint: an encoder that cannot tell early from late.
    """
    network = MusicFlamingoForConditionalGeneration(config)
    positions = network.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    return network


def build_processor(
    texts: Iterable[str], vocabulary: int, num_mel_bins: int, window_seconds: int
) -> MusicFlamingoProcessor:
    """Music Flamingo's processor around a tokenizer trained on `texts`."""
    return MusicFlamingoProcessor(
        feature_extractor=WhisperFeatureExtractor(
            feature_size=num_mel_bins, chunk_length=window_seconds, return_attention_mask=True
        ),
        tokenizer=train_tokenizer(texts, vocabulary),
        chat_template=CHAT_TEMPLATE,
    )


def train_tokenizer(
    texts: Iterable[str],
    vocabulary: int,
    special_tokens: Iterable[str] = SPECIAL_TOKENS,
    end_of_turn: str = "<|im_end|>",
    *,
    lowercase: bool = False,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen2's rules for splitting text; think and answer tags are tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    nfc = normalizers.NFC()
    tokenizer.normalizer = normalizers.Sequence([nfc, normalizers.Lowercase()]) if lowercase else nfc
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*special_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in THINK_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end_of_turn,
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
