"""How many tokens songs, questions and answers are to a model."""

from pathlib import Path

from lhotse.cut import Cut

from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import frontend_of


class TokenCounter:
    """Counts as the data module does, without thoughts.

    Args:
        directory: Hugging Face directory with the processor.

    Raises:
        UserError: it holds none.
    """

    def __init__(self, directory: Path) -> None:
        self._chat = ConversationFormat.from_directory(directory)
        self._frontend = frontend_of(self._chat.processor)

    def audio(self, cut: Cut) -> int:
        lengths = self._frontend.mel_lengths(round(cut.duration * self._frontend.sampling_rate))
        return int(self._frontend.token_lengths(lengths).sum())

    def question(self, text: str) -> int:
        return len(self._chat.question_ids(text))

    def answer(self, text: str) -> int:
        return len(self._chat.answer_ids(text))
