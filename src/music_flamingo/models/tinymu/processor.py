"""TinyMU's processor: a song, a separator, and what is asked, without a chat's roles."""

from typing import Any

import torch
from transformers import BatchFeature, MusicFlamingoProcessor

AUDIO_TOKEN = "<empty_output>"  # noqa: S105 - a token of SmolLM2 that no text has
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    f"{{% for part in message['content'] if part['type'] == 'audio' %}}{AUDIO_TOKEN}{{% endfor %}}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'assistant' %}<|endoftext|>{% endif %}"
    "{% endfor %}"
)
"""What is said, one after the other; an answer ends as a text does."""


class TinyMUProcessor(MusicFlamingoProcessor):
    """Turns songs and texts into TinyMU's inputs: song, separator, prompt, answer, without padding between them.

    Args:
        feature_extractor: MATPAC++'s.
        tokenizer: SmolLM2's.
        chat_template: how turns are written.
        audio_token: placeholder of an audio embedding.
        audio_bos_token: before a song.
        audio_eos_token: between a song and the text.
        max_audio_len: longest song in seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the published processor's settings
        self,
        feature_extractor: Any,
        tokenizer: Any,
        chat_template: str | None = CHAT_TEMPLATE,
        audio_token: str = AUDIO_TOKEN,
        audio_bos_token: str = "",
        audio_eos_token: str = "<|endoftext|>",
        max_audio_len: int = 1200,
    ) -> None:
        super().__init__(
            feature_extractor,
            tokenizer,
            chat_template,
            audio_token,
            audio_bos_token,
            audio_eos_token,
            max_audio_len,
        )

    def _process_audio(self, audio: Any, **kwargs: Any) -> tuple[BatchFeature, list[str]]:
        """Windows of all songs, one behind the other, and what stands for each song in the text."""
        extractor = self.feature_extractor
        songs = [extractor(song, kwargs["sampling_rate"]) for song in audio]
        mask = torch.cat([song["attention_mask"] for song in songs])
        tokens = [int((-(-song["attention_mask"].sum(1) // extractor.patch_frames)).sum()) for song in songs]
        inputs = {"input_features": torch.cat([song["input_features"] for song in songs]), "input_features_mask": mask}
        replacements = [f"{self.audio_bos_token}{self.audio_token * count}{self.audio_eos_token}" for count in tokens]
        return BatchFeature({**inputs, "num_audio_tokens": torch.tensor(tokens)}), replacements
