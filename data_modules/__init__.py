"""From lhotse cut-sets to packed rows."""

from music_flamingo.data_modules.conversations import ConversationDataModule
from music_flamingo.data_modules.song_order import Blend, Source
from music_flamingo.data_modules.styles import ConversationStyle, DirectAnswers, ThinkTraces, WrittenThoughts

__all__ = [
    "Blend",
    "ConversationDataModule",
    "ConversationStyle",
    "DirectAnswers",
    "Source",
    "ThinkTraces",
    "WrittenThoughts",
]
