"""Open training recipes for music-language models of the Flamingo family."""

__version__ = "0.1.0"
