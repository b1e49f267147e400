from pathlib import Path

from transformers import AutoConfig, AutoProcessor, PreTrainedConfig

from music_flamingo.models.audio_flamingo_2 import AudioFlamingo2Config
from tests.builders import preset_directory

PRESET = "audio-flamingo-2-tiny"
# The standard deviations of untrained weights belong to their sizes; a tokenizer's ids to its vocabulary.
TEXT = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"} | {
    *("num_key_value_heads", "initializer_range", "layer_types", "pad_token_id", "eos_token_id"),
}
AUDIO = {"patch_embeds_hidden_size", "hidden_size", "depths", "num_attention_heads", "initializer_factor"}


def test_a_preset_differs_from_the_published_model_in_sizes_alone(tmp_path: Path) -> None:
    AudioFlamingo2Config().save_pretrained(tmp_path)
    published = AutoConfig.from_pretrained(tmp_path)
    tiny = AutoConfig.from_pretrained(preset_directory(PRESET))
    assert differing(tiny.text_config, published.text_config) == TEXT
    assert differing(tiny.audio_config, published.audio_config) == AUDIO
    for name in ("cross_attention_interval", "transform_layers", "max_windows", "initializer_range"):
        assert getattr(tiny, name) == getattr(published, name), name


def differing(tiny: PreTrainedConfig, published: PreTrainedConfig) -> set[str]:
    ours, theirs = tiny.to_dict(), published.to_dict()
    return {name for name in theirs if ours.get(name) != theirs[name]}


def test_a_conversation_is_written_as_published_and_in_small_letters() -> None:
    processor = AutoProcessor.from_pretrained(preset_directory(PRESET))
    content = [{"type": "audio"}, {"type": "text", "text": "Are there DRUMS?"}]
    answer = {"role": "assistant", "content": "Yes"}
    text = processor.apply_chat_template([{"role": "user", "content": content}, answer])
    assert text == "<audio>Are there DRUMS?<SEP>Yes<|endofchunk|>"
    ids = processor.tokenizer(text)["input_ids"]
    assert processor.tokenizer.decode(ids) == "<audio>are there drums?<SEP>yes<|endofchunk|>"
    assert ids[0] == processor.audio_token_id
    assert ids[-1] == processor.tokenizer.eos_token_id
