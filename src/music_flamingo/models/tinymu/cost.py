"""FLOPs of a TinyMU.

At its published size (MATPAC++, SmolLM2-135M) it needs, forward,

    56.5e9 for an audio window of 9.92 s, a sixteenth of it attention, 18.1e6 for an audio token's projection,
    212.3e6 for a token, 56.6e6 for a token that is predicted,
    69.1e3 for a token and one it sees.
"""

from music_flamingo.models.cost_model import CostModel, Flops, Workload
from music_flamingo.models.layer_cost import DecoderCost
from music_flamingo.models.matpac.cost import matpac_flops
from music_flamingo.models.tinymu.configuration import TinyMUConfig


class TinyMUCost(CostModel):
    """Of a TinyMU, whose Llama computes its last layer for all tokens.

    Args:
        config: of the model.
    """

    def __init__(self, config: TinyMUConfig) -> None:
        self._encoder = config.audio_config
        widths = [config.audio_config.embedding_size, config.projector_hidden_size, config.text_config.hidden_size]
        given = [width for width in widths if width is not None]
        self._audio_token = sum(2 * before * after for before, after in zip(given, given[1:], strict=False))
        self._language_model = DecoderCost(config.text_config, selects_rows=False)

    def flops(self, work: Workload) -> Flops:
        return Flops(
            encoder=matpac_flops(self._encoder, work.windows),
            projector=work.audio_tokens * self._audio_token,
            language_model=self._language_model.flops(work),
        )
