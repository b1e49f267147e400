"""Audio Flamingo 2, for transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForMultimodalLM

from music_flamingo.models.audio_flamingo_2.configuration import AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.model import AudioFlamingo2ForConditionalGeneration

__all__ = ["AFClapFeatureExtractor", "AudioFlamingo2Config", "AudioFlamingo2ForConditionalGeneration"]

AutoConfig.register(AudioFlamingo2Config.model_type, AudioFlamingo2Config)
AutoModelForMultimodalLM.register(AudioFlamingo2Config, AudioFlamingo2ForConditionalGeneration)
AutoFeatureExtractor.register(AudioFlamingo2Config, AFClapFeatureExtractor)
