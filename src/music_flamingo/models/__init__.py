"""Music-language models that read packed rows."""

from music_flamingo.models.freezing import evaluate_frozen_modules, freeze_parameters
from music_flamingo.models.music_flamingo import MusicFlamingo

__all__ = ["MusicFlamingo", "evaluate_frozen_modules", "freeze_parameters"]
