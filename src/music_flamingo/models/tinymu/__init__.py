"""TinyMU, for transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor

from music_flamingo.models.tinymu.configuration import TinyMUConfig
from music_flamingo.models.tinymu.model import TinyMUForConditionalGeneration, TinyMUModel
from music_flamingo.models.tinymu.processor import TinyMUProcessor

__all__ = ["TinyMUConfig", "TinyMUForConditionalGeneration", "TinyMUModel", "TinyMUProcessor"]

AutoConfig.register(TinyMUConfig.model_type, TinyMUConfig)
AutoModel.register(TinyMUConfig, TinyMUModel)
AutoModelForMultimodalLM.register(TinyMUConfig, TinyMUForConditionalGeneration)
AutoProcessor.register(TinyMUConfig, TinyMUProcessor)
