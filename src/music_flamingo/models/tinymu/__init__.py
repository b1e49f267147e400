"""TinyMU, for transformers' Auto classes."""

from transformers import AutoConfig, AutoModelForMultimodalLM

from music_flamingo.models.tinymu.configuration import TinyMUConfig
from music_flamingo.models.tinymu.model import TinyMUForConditionalGeneration, TinyMUModel

__all__ = ["TinyMUConfig", "TinyMUForConditionalGeneration", "TinyMUModel"]

AutoConfig.register(TinyMUConfig.model_type, TinyMUConfig)
AutoModelForMultimodalLM.register(TinyMUConfig, TinyMUForConditionalGeneration)
