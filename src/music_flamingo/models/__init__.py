"""Music-language models that read packed rows."""

from music_flamingo.models.audio_flamingo_2.af_clap_rows import AFClap
from music_flamingo.models.audio_flamingo_2.rows import AudioFlamingo2
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.freezing import evaluate_frozen_modules, freeze_parameters
from music_flamingo.models.lora import LoRA
from music_flamingo.models.music_flamingo import MusicFlamingo
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.models.time_embedding import CheckpointRoTE, ExactRoTE, FrameRoPE, NoTimeEmbedding
from music_flamingo.models.tinymu.rows import TinyMU

__all__ = [
    "AFClap",
    "AudioFlamingo2",
    "CheckpointRoTE",
    "EncoderCache",
    "ExactRoTE",
    "FrameRoPE",
    "LoRA",
    "MusicFlamingo",
    "MusicLanguageModel",
    "NoTimeEmbedding",
    "TinyMU",
    "evaluate_frozen_modules",
    "freeze_parameters",
]
