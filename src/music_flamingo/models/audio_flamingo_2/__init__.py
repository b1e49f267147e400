"""Audio Flamingo 2 and AF-CLAP, for transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForMultimodalLM, AutoProcessor

from music_flamingo.models.audio_flamingo_2.af_clap import AFClapConfig, AFClapModel
from music_flamingo.models.audio_flamingo_2.af_clap_processor import AFClapProcessor
from music_flamingo.models.audio_flamingo_2.configuration import AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.model import AudioFlamingo2ForConditionalGeneration, AudioFlamingo2Model
from music_flamingo.models.audio_flamingo_2.processor import AudioFlamingo2Processor

__all__ = [
    "AFClapConfig",
    "AFClapFeatureExtractor",
    "AFClapModel",
    "AFClapProcessor",
    "AudioFlamingo2Config",
    "AudioFlamingo2ForConditionalGeneration",
    "AudioFlamingo2Model",
    "AudioFlamingo2Processor",
]

AutoConfig.register(AudioFlamingo2Config.model_type, AudioFlamingo2Config)
AutoModel.register(AudioFlamingo2Config, AudioFlamingo2Model)
AutoModelForMultimodalLM.register(AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration)
AutoProcessor.register(AudioFlamingo2Config, AudioFlamingo2Processor)
AutoFeatureExtractor.register(AudioFlamingo2Config, AFClapFeatureExtractor)
AutoConfig.register(AFClapConfig.model_type, AFClapConfig)
AutoModel.register(AFClapConfig, AFClapModel)
AutoFeatureExtractor.register(AFClapConfig, AFClapFeatureExtractor)
AutoProcessor.register(AFClapConfig, AFClapProcessor)
