"""Open training recipes for music-language models of the Flamingo family."""

from music_flamingo.auto_classes import register_once_transformers_is_imported

__version__ = "0.1.0"

register_once_transformers_is_imported()
