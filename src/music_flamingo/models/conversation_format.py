"""From a song and what is said about it to token ids, with the processor's own chat template.

The template writes the audio before the question, so the text up to and including the audio is the same for every
question on a song: it becomes the root segment, and each question with its answer a branch.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import AutoProcessor

from music_flamingo.batch import AudioWindows
from music_flamingo.errors import UserError
from music_flamingo.models.model_directory import require_model_directory
from music_flamingo.think_tags import ANSWER_OPEN

THINK_SUFFIX = "Output the thinking process in <think> </think> and final answer in <answer> </answer>."
"""Appended to a question that wants thoughts. Source: Music Flamingo (arXiv:2511.10289), MF-Think and GRPO prompts."""


class ConversationFormat:
    """Token ids of songs, questions and answers.

    Args:
        processor: of the model that will read them. One whose tokens cannot be packed says why in `why_not_packed`.

    Raises:
        UserError: the processor's tokens cannot be packed.
    """

    def __init__(self, processor: Any) -> None:
        if reason := getattr(processor, "why_not_packed", None):
            raise UserError(reason)
        self.processor: Any = processor
        self.tokenizer: Any = processor.tokenizer
        self.end_of_turn: int = self.tokenizer.eos_token_id
        before, _ = self.around_audio("")
        self._before_audio = self.encode(f"{before}{processor.audio_bos_token}")
        self._after_audio = self.encode(processor.audio_eos_token)
        self._between_sounds = self.encode(f"{processor.audio_eos_token}{processor.audio_bos_token}")

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ConversationFormat":
        require_model_directory(Path(directory))
        return cls(AutoProcessor.from_pretrained(str(directory), local_files_only=True))

    def tokens_around_audio(self, sounds: int = 1) -> int:
        """What `song_ids` holds beside the placeholders."""
        return len(self._before_audio) + len(self._after_audio) + (sounds - 1) * len(self._between_sounds)

    def song_ids(self, *sounds: AudioWindows) -> list[int]:
        """The prompt up to the end of the song, or of several sounds, one placeholder per audio embedding."""
        ids = list(self._before_audio)
        for number, windows in enumerate(sounds):
            ids += self._between_sounds if number else []
            ids += [self.processor.audio_token_id] * int(windows.tokens.sum())
        return [*ids, *self._after_audio]

    def question_ids(self, question: str, *, think: bool = False) -> list[int]:
        """The prompt from the end of the song to the first token of the answer.

        Raises:
            UserError: the question itself holds an audio placeholder, for which there is no audio.
        """
        self._require_no_audio(question)
        return list(_after_song(self, f"{question} {THINK_SUFFIX}" if think else question))

    def follow_up_ids(self, question: str) -> list[int]:
        """What stands between the end of an answer and the next one, when another question is asked.

        Raises:
            UserError: as `question_ids` does.
        """
        self._require_no_audio(question)
        return list(_after_answer(self, question))

    def answer_ids(self, answer: str) -> list[int]:
        """The answer and the token that ends it."""
        return [*self.encode(answer), self.end_of_turn]

    def answer_weights(self, answer_ids: list[int], answer_weight: float) -> list[float]:
        """Weights in the loss: `answer_weight` for what follows the thoughts' answer tag, 1 for all before it."""
        tag = self.tokenizer.convert_tokens_to_ids(ANSWER_OPEN)
        start = answer_ids.index(tag) + 1 if tag in answer_ids else len(answer_ids)
        return [1.0] * start + [answer_weight] * (len(answer_ids) - start)

    def _require_no_audio(self, question: str) -> None:
        if self.processor.audio_token in question:
            raise UserError(
                f"question holds {self.processor.audio_token!r}, but each song has one place, before the question: "
                "remove it"
            )

    def encode(self, text: str) -> list[int]:
        return cast(list[int], self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, token_ids: list[int] | Tensor) -> str:
        """Text of a completion, without the token that ends it."""
        return cast(str, self.tokenizer.decode(token_ids, skip_special_tokens=True)).strip()

    def around_audio(self, text: str) -> tuple[str, str]:
        """What the template writes before and after the song when `text` is asked about it."""
        before, after = self._rendered([_question(text)]).split(self.processor.audio_token, 1)
        return before, after

    def after_answer(self, text: str) -> str:
        """What the template writes after an answer and the token that ends it, when `text` is asked next."""
        answer = "\N{WHITE FLAG}"  # stands nowhere else
        messages = [_question(""), {"role": "assistant", "content": answer}, {"role": "user", "content": text}]
        _, after = self._rendered(messages).split(answer, 1)
        return after.removeprefix(str(self.tokenizer.eos_token))

    def _rendered(self, messages: list[dict[str, Any]]) -> str:
        rendered: str = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return rendered


def _question(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": text}]}


@lru_cache(maxsize=4096)
def _after_answer(chat: ConversationFormat, text: str) -> tuple[int, ...]:
    return tuple(chat.encode(chat.after_answer(text)))


@lru_cache(maxsize=4096)
def _after_song(chat: ConversationFormat, text: str) -> tuple[int, ...]:
    """Corpora ask many songs the same; to render the template anew is most of what a question costs."""
    return tuple(chat.encode(chat.around_audio(text)[1]))
