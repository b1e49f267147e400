"""Weights under the names of the published TinyMU checkpoints, and under ours."""

from collections.abc import Mapping

from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.models.matpac import published as matpac

_ENCODER = "audio_encoder.enc."
_PREFIXES = {
    "projector.linear1.": "model.multi_modal_projector.linear_1.",
    "projector.linear2.": "model.multi_modal_projector.linear_2.",
    "text_decoder.lm.model.": "model.language_model.",
}
_ALIASES = ("text_decoder.embed_fn.weight", "text_decoder.lm.lm_head.weight")
"""The token embedding once more."""


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint as `TinyMUForConditionalGeneration` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    encoder = {name.removeprefix(_ENCODER): each for name, each in published.items() if name.startswith(_ENCODER)}
    ours = {f"model.audio_tower.{name}": each for name, each in matpac.renamed(encoder).items()}
    for name, tensor in published.items():
        if name.startswith(_ENCODER) or name in _ALIASES:
            continue
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        if prefix is None:
            raise UserError(f"expected a TinyMU checkpoint, got the name {name}: give another file")
        ours[_PREFIXES[prefix] + name.removeprefix(prefix)] = tensor
    return ours
