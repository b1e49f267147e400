from transformers import AutoConfig

from music_flamingo.models.tinymu import TinyMUConfig
from tests.builders import preset_directory


def test_a_preset_differs_from_the_published_model_in_sizes_alone() -> None:
    tiny, published = (
        AutoConfig.from_pretrained(preset_directory("tinymu-tiny")).text_config,
        TinyMUConfig().text_config,
    )
    for name in ("model_type", "rope_parameters", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"):
        assert getattr(tiny, name) == getattr(published, name), name
