"""FLOPs of a Music Flamingo.

At its full size (encoder 0.63 billion parameters, Qwen2.5-7B) it needs, forward,

    2.27e12 for an audio window of 30 s, a sixth of it attention,
    13.05e9 for a token, 1.09e9 for a token that is predicted,
    401e3 for a token and one it sees: 200.7e3 S^2 for S tokens that see all before them.
"""

from typing import Any

import torch
from transformers import MusicFlamingoConfig

from music_flamingo.models.audio_encoder import encoder_frames
from music_flamingo.models.cost_model import CostModel, Flops, Workload
from music_flamingo.models.layer_cost import DecoderCost, encoder_flops


class MusicFlamingoCost(CostModel):
    """Of a Music Flamingo with a language model of Qwen2's kind.

    Args:
        config: of transformers' model.

    Source: the layers of transformers 5.23; `audio_encoder.py` for what the encoder computes.
    """

    def __init__(self, config: MusicFlamingoConfig) -> None:
        self._audio: Any = config.audio_config
        self._text: Any = config.text_config
        self._language_model = DecoderCost(config.text_config, selects_rows=True)

    def flops(self, work: Workload) -> Flops:
        audio_width, text_width = self._audio.hidden_size, self._text.hidden_size
        frames = encoder_frames(torch.tensor(work.windows, dtype=torch.int64)).tolist()
        # For each frame of the layers the first convolution, before a stride of 2, has two.
        convolutions = 2 * 3 * audio_width * (2 * self._audio.num_mel_bins + audio_width)
        return Flops(
            encoder=sum(frames) * convolutions + encoder_flops(self._audio, frames),
            projector=work.audio_tokens * 2 * (audio_width + text_width) * text_width,
            language_model=self._language_model.flops(work),
        )
