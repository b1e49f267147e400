"""From lhotse cut-sets to packed rows."""

from music_flamingo.data_modules.captions import Caption, Captions, SongbookCaptions, WrittenCaptions
from music_flamingo.data_modules.conversations import ConversationDataModule
from music_flamingo.data_modules.song_order import Blend, Source
from music_flamingo.data_modules.styles import ConversationStyle, DirectAnswers, ThinkTraces, WrittenThoughts

__all__ = [
    "Blend",
    "Caption",
    "Captions",
    "ConversationDataModule",
    "ConversationStyle",
    "DirectAnswers",
    "SongbookCaptions",
    "Source",
    "ThinkTraces",
    "WrittenCaptions",
    "WrittenThoughts",
]
