"""MATPAC++: TinyMU's audio encoder, for transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from music_flamingo.models.matpac.configuration import MatpacConfig
from music_flamingo.models.matpac.features import MatpacFeatureExtractor
from music_flamingo.models.matpac.model import MatpacModel

__all__ = ["MatpacConfig", "MatpacFeatureExtractor", "MatpacModel"]

AutoConfig.register(MatpacConfig.model_type, MatpacConfig)
AutoModel.register(MatpacConfig, MatpacModel)
AutoFeatureExtractor.register(MatpacConfig, MatpacFeatureExtractor)
