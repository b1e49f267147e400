"""From lhotse cut-sets to packed rows."""

from music_flamingo.data_modules.conversations import ConversationDataModule
from music_flamingo.data_modules.styles import ConversationStyle, DirectAnswers, ThinkTraces

__all__ = ["ConversationDataModule", "ConversationStyle", "DirectAnswers", "ThinkTraces"]
