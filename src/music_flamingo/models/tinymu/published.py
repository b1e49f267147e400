"""Weights under the names of the published TinyMU checkpoints, and under ours."""

from collections.abc import Mapping

from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.models.matpac import published as matpac
from music_flamingo.models.published_names import below, first_names, without_aliases
from music_flamingo.models.published_sizes import Converted, HeadWidths, decoder_sizes, size
from music_flamingo.models.tinymu.configuration import SMOLLM2, TinyMUConfig

HEAD_DIM = 64
"""Of SmolLM2, whatever its size."""
_ENCODER = "audio_encoder.enc."
_PREFIXES = {
    "projector.linear1.": "model.multi_modal_projector.linear_1.",
    "projector.linear2.": "model.multi_modal_projector.linear_2.",
    "text_decoder.lm.model.": "model.language_model.",
}
_EMBEDDING = "text_decoder.lm.model.embed_tokens.weight"
_ALIASES = {"text_decoder.embed_fn.weight": _EMBEDDING, "text_decoder.lm.lm_head.weight": _EMBEDDING}
"""The token embedding once more."""


def converted(published: Mapping[str, Tensor], heads: HeadWidths) -> Converted:
    """A published checkpoint for `TinyMUForConditionalGeneration`.

    Raises:
        UserError: a name that no such checkpoint has, or one that is missing to tell the sizes.
    """
    kept = used(published)
    weights = renamed(kept)
    audio_head_dim, text_head_dim = heads.audio or matpac.HEAD_DIM, heads.text or HEAD_DIM
    projector = "model.multi_modal_projector.linear_"
    config = TinyMUConfig(
        audio_config=matpac.configured(below(weights, "model.audio_tower."), audio_head_dim),
        text_config={
            **SMOLLM2,
            **decoder_sizes(below(weights, "model.language_model."), text_head_dim),
            "head_dim": text_head_dim,
        },
        projector_hidden_size=size(weights, f"{projector}1.weight") if f"{projector}2.weight" in weights else None,
    )
    assumed = f"{audio_head_dim} wide heads in the encoder, {text_head_dim} wide in the language model"
    return Converted(config, weights, sorted(published.keys() - kept.keys()), assumed)


def used(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the model uses, each under one name.

    Raises:
        UserError: the language model's head is not its embedding.
    """
    once = without_aliases(published, lambda name: _ALIASES.get(name, name))
    left_out = {_ENCODER + name for name in below(once, _ENCODER) if matpac.NOT_USED.fullmatch(name)}
    return {name: tensor for name, tensor in once.items() if name not in left_out}


def renamed(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `used` keeps of a checkpoint as `TinyMUForConditionalGeneration` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    ours = {f"model.audio_tower.{name}": each for name, each in matpac.renamed(below(kept, _ENCODER)).items()}
    unknown = []
    for name, tensor in kept.items():
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        if prefix is not None:
            ours[_PREFIXES[prefix] + name.removeprefix(prefix)] = tensor
        elif not name.startswith(_ENCODER):
            unknown.append(name)
    if unknown:
        raise UserError(f"expected a TinyMU checkpoint, got the names {first_names(unknown)}: give another file")
    return ours
