"""Audio Flamingo 2's processor: a place for the song, what is asked, a separator, and the answer.

Everything is written in small letters, as the published model was trained; its tokenizer sees to that. An answer ends
with `<|endofchunk|>`. The published trainer lets the text's end follow, which nobody reads.
"""

from typing import Any

import torch
from torch.nn.functional import pad
from transformers import BatchFeature, MusicFlamingoProcessor

from music_flamingo.models.song_samples import require_short

AUDIO_TOKEN, SEPARATOR, END_OF_ANSWER = "<audio>", "<SEP>", "<|endofchunk|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    f"{{% for part in message['content'] if part['type'] == 'audio' %}}{AUDIO_TOKEN}{{% endfor %}}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    f"{{{{ '{END_OF_ANSWER}' if message['role'] == 'assistant' else '{SEPARATOR}' }}}}"
    "{% endfor %}"
)


class AudioFlamingo2Processor(MusicFlamingoProcessor):
    """Turns songs and texts into Audio Flamingo 2's inputs.

    Args:
        feature_extractor: AF-CLAP's.
        tokenizer: Qwen2.5's with the tokens above, of which `<|endofchunk|>` is its `eos_token`.
        chat_template: how turns are written.
        audio_token: stands for a song.
        audio_bos_token: before it.
        audio_eos_token: behind it.
        max_audio_len: longest song in seconds; a longer one is refused.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - those of transformers' processor
        self,
        feature_extractor: Any,
        tokenizer: Any,
        chat_template: str | None = CHAT_TEMPLATE,
        audio_token: str = AUDIO_TOKEN,
        audio_bos_token: str = "",
        audio_eos_token: str = "",
        max_audio_len: int = 300,
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
        """Windows of each song, padded to those of the longest, and what stands for each song in the text."""
        require_short(audio, kwargs["sampling_rate"], self.max_audio_len)
        songs = [self.feature_extractor(song, kwargs["sampling_rate"]) for song in audio]
        most = max(len(song["attention_mask"]) for song in songs)
        features = [pad(s["input_features"], (0, 0, 0, 0, 0, most - len(s["input_features"]))) for s in songs]
        masks = [pad(s["attention_mask"], (0, 0, 0, most - len(s["attention_mask"]))) for s in songs]
        inputs = {"input_features": torch.stack(features), "input_features_mask": torch.stack(masks)}
        replacement = f"{self.audio_bos_token}{self.audio_token}{self.audio_eos_token}"
        return BatchFeature({**inputs, "num_audio_tokens": torch.ones(len(songs))}), [replacement] * len(songs)
