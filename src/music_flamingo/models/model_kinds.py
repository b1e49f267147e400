"""Which of our classes goes with a model or a processor of transformers'."""

from collections.abc import Callable
from typing import Any

from transformers import AutoConfig, MusicFlamingoConfig, PreTrainedConfig, WhisperFeatureExtractor

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor, AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.cost import AudioFlamingo2Cost
from music_flamingo.models.audio_flamingo_2.frontend import AFClapFrontend
from music_flamingo.models.audio_flamingo_2.rows import AudioFlamingo2
from music_flamingo.models.audio_frontend import AudioFrontend, WhisperFrontend
from music_flamingo.models.cost_model import CostModel
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.matpac.frontend import MatpacFrontend
from music_flamingo.models.model_directory import require_model_directory
from music_flamingo.models.music_flamingo import MusicFlamingo
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.models.tinymu import TinyMUConfig
from music_flamingo.models.tinymu.cost import TinyMUCost
from music_flamingo.models.tinymu.rows import TinyMU

_MODELS: dict[type[PreTrainedConfig], type[MusicFlamingo] | type[TinyMU] | type[AudioFlamingo2]] = {
    MusicFlamingoConfig: MusicFlamingo,
    TinyMUConfig: TinyMU,
    AudioFlamingo2Config: AudioFlamingo2,
}
_COST_MODELS: dict[type[PreTrainedConfig], Callable[[Any], CostModel]] = {
    MusicFlamingoConfig: MusicFlamingoCost,
    TinyMUConfig: TinyMUCost,
    AudioFlamingo2Config: AudioFlamingo2Cost,
}


def load_model(directory: str) -> MusicLanguageModel:
    """The model of a Hugging Face directory, on packed rows.

    Raises:
        UserError: it holds no model with its processor, or another kind of model.
    """
    require_model_directory(directory)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if type(config) not in _MODELS:
        known = ", ".join(each.model_type for each in _MODELS)
        raise UserError(f"{directory}: expected a model of the kinds {known}, got {config.model_type!r}: give another")
    return _MODELS[type(config)](directory)


def frontend_of(processor: Any) -> AudioFrontend:
    """What computes the windows that a processor's model hears.

    Raises:
        UserError: the processor is of another kind.
    """
    extractor = processor.feature_extractor
    if isinstance(extractor, MatpacFeatureExtractor):
        return MatpacFrontend(extractor)
    if isinstance(extractor, WhisperFeatureExtractor):
        return WhisperFrontend(extractor)
    if isinstance(extractor, AFClapFeatureExtractor):
        return AFClapFrontend(extractor)
    raise UserError(
        f"expected a processor that hears windows as Whisper, MATPAC++ or AF-CLAP do, got {type(extractor).__name__}"
    )


def cost_model_of(directory: str) -> CostModel:
    """FLOPs of the model of a Hugging Face directory.

    Raises:
        UserError: there is none for this kind of model.
    """
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if type(config) not in _COST_MODELS:
        raise UserError(
            f"data.max_tokens and data.max_flops: expected a model whose cost is known, got {config.model_type!r}: "
            "give data.max_duration"
        )
    return _COST_MODELS[type(config)](config)
