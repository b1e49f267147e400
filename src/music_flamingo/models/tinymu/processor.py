"""TinyMU's processor: a song, a separator, and what is asked, without a chat's roles."""

from typing import Any, Literal

import torch
from transformers import BatchFeature, MusicFlamingoProcessor

from music_flamingo.errors import UserError
from music_flamingo.models.song_samples import require_short
from music_flamingo.models.tinymu.released_layout import ReleasedLayout, side_by_side

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
    """Turns songs and texts into TinyMU's inputs: song, separator, prompt, answer.

    Args:
        feature_extractor: MATPAC++'s.
        tokenizer: SmolLM2's.
        chat_template: how turns are written.
        audio_token: placeholder of an audio embedding.
        audio_bos_token: before a song.
        audio_eos_token: between a song and the text.
        max_audio_len: longest song in seconds; a longer one is refused.
        layout: "compact" has no padding between the parts. "released" is what the released weights were trained on,
            see `released_layout`; its rows cannot be packed.
        prompt_length: tokens that a prompt is padded to in the released layout.
        answer_length: tokens that an answer is padded to in the released layout.
        padding_token: what it is padded with there.
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
        layout: Literal["compact", "released"] = "compact",
        prompt_length: int = 129,
        answer_length: int = 129,
        padding_token: str = "!",  # noqa: S107 - a token of text
    ) -> None:
        if layout not in {"compact", "released"}:
            raise UserError(f"processor_config.json: layout: expected compact or released, got {layout!r}")
        super().__init__(
            feature_extractor,
            tokenizer,
            chat_template,
            audio_token,
            audio_bos_token,
            audio_eos_token,
            max_audio_len,
        )
        self.layout = layout
        self.prompt_length = prompt_length
        self.answer_length = answer_length
        self.padding_token = padding_token

    @property
    def why_not_packed(self) -> str | None:
        """Why packed rows cannot follow this processor, and what to do; None where they can."""
        if self.layout == "compact":
            return None
        return (
            "processor_config.json: expected layout compact, got released, whose padding packed rows lack: "
            "change layout to compact (released weights then answer slightly differently until fine-tuned)"
        )

    def __call__(
        self,
        text: str | list[str],
        audio: Any = None,
        output_labels: bool = False,
        answers: str | list[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Inputs of the model, as `MusicFlamingoProcessor` gives them.

        Args:
            text: prompts; in the released layout each begins with its song's placeholder.
            audio: a song for each.
            output_labels: whether to add labels; in the released layout of the answers alone.
            answers: to learn in the released layout; in the compact layout they are part of the text.
            **kwargs: as `MusicFlamingoProcessor` takes them.

        Raises:
            UserError: answers and layout do not go together, or a prompt or an answer does not fit the layout.
        """
        if self.layout == "compact" and answers is not None:
            raise UserError("answers: layout compact takes an answer as the end of the text: append it there")
        if self.layout == "released" and output_labels and answers is None:
            raise UserError("answers: expected what is to be learnt beside output_labels in layout released, got None")
        inputs: BatchFeature = super().__call__(text, audio, output_labels and answers is None, **kwargs)
        return inputs if self.layout == "compact" else self._as_released(inputs, _listed(answers), output_labels)

    def _as_released(self, inputs: BatchFeature, answers: list[str] | None, output_labels: bool) -> BatchFeature:
        """The same inputs with the tokens laid out anew, and answers behind them."""
        padding_id = self.tokenizer.convert_tokens_to_ids(self.padding_token)
        layout = ReleasedLayout(self.prompt_length, self.answer_length, padding_id, self.tokenizer.eos_token_id)
        asked = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        if answers is not None and len(answers) != len(asked):
            raise UserError(f"answers: expected one for each of {len(asked)} texts, got {len(answers)}")
        rows = []
        for number, ids in enumerate(asked):
            start = self._end_of_song(ids)
            answer = None if answers is None else self.tokenizer.encode(answers[number], add_special_tokens=False)
            rows.append(layout.row(ids[:start].tolist(), ids[start:].tolist(), answer))
        laid_out = side_by_side(rows, padding_id)
        if not output_labels:
            del laid_out["labels"]
        return BatchFeature({**inputs, **laid_out})

    def _end_of_song(self, ids: torch.Tensor) -> int:
        """Placeholders and separator that (L,) `ids` begin with."""
        count = int((ids == self.audio_token_id).sum())
        song = [self.audio_token_id] * count + [self.audio_eos_token_id]
        if not count or ids[: count + 1].tolist() != song:
            raise UserError(
                f"text: layout released begins with the song: expected one {self.audio_token} at the beginning of each "
                "text, and its audio"
            )
        return len(song)

    def _process_audio(self, audio: Any, **kwargs: Any) -> tuple[BatchFeature, list[str]]:
        """Windows of all songs, one behind the other, and what stands for each song in the text."""
        require_short(audio, kwargs["sampling_rate"], self.max_audio_len)
        extractor = self.feature_extractor
        songs = [extractor(song, kwargs["sampling_rate"]) for song in audio]
        mask = torch.cat([song["attention_mask"] for song in songs])
        tokens = [int((-(-song["attention_mask"].sum(1) // extractor.patch_frames)).sum()) for song in songs]
        inputs = {"input_features": torch.cat([song["input_features"] for song in songs]), "input_features_mask": mask}
        replacements = [f"{self.audio_bos_token}{self.audio_token * count}{self.audio_eos_token}" for count in tokens]
        return BatchFeature({**inputs, "num_audio_tokens": torch.tensor(tokens)}), replacements


def _listed(texts: str | list[str] | None) -> list[str] | None:
    return [texts] if isinstance(texts, str) else texts
