"""Weights under the names of the published AF-CLAP and Audio Flamingo 2 checkpoints, and under ours."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2.audio_transform import FEWEST_ROTARY
from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE, QWEN2_5_3B, AudioFlamingo2Config
from music_flamingo.models.published_names import below, first_names, thirds, without_aliases
from music_flamingo.models.published_sizes import Converted, HeadWidths, decoder_sizes, num_heads, numbered, size

TRANSFORM_HEAD_DIM = 256
TEXT_HEAD_DIM = 128
"""Of Qwen2.5 from 1.5 billion parameters on."""

_CLAP_NOT_USED = re.compile(
    r"(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*|patch_embed\.(mel_conv2d|fusion_model)\..*"
    r"|.*\.(attn_mask|relative_position_index)"
)
"""Filters and tables that are computed, classifiers, and the branch for clips longer than a window."""
_CLAP_NAMES = (
    (r"bn0\.", "batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative_position_bias_table", ".attention.self.relative_position_bias_table"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_QKV = re.compile(r"(.*)\.attn\.qkv\.(weight|bias)")
_CLAP_PREFIX = re.compile(r"((module\.)?audio_branch|clap\.nvclap|clap\.afclap)\.")
_ALIASES = (
    (r"lang_encoder\.old_decoder_blocks\.(\d+)\.", r"lang_encoder.model.layers.\1.decoder_layer."),
    (
        r"lang_encoder\.gated_cross_attn_layers_sound\.(\d+)\.",
        r"lang_encoder.model.layers.\1.gated_cross_attn_layer_sound.",
    ),
    (r"lang_encoder\.lm_head\.weight", "lang_encoder.model.embed_tokens.weight"),
)
"""Tensors that stand under another name too."""
_ROTATION = "audio_transformer_clap.position_enc.inv_freq"
"""Is computed; it has half as many numbers as a head of the transform has rotated dimensions."""
_NAMES = (
    (r"audio_transformer_clap\.layer_norm\.", "audio_transform.norm."),
    (r"audio_transformer_clap\.layer_stack\.(\d+)\.slf_attn\.w_([qkv])s\.", r"audio_transform.layers.\1.\2_proj."),
    (r"audio_transformer_clap\.layer_stack\.(\d+)\.slf_attn\.fc\.", r"audio_transform.layers.\1.o_proj."),
    (
        r"audio_transformer_clap\.layer_stack\.(\d+)\.slf_attn\.layer_norm\.",
        r"audio_transform.layers.\1.attention_norm.",
    ),
    (r"audio_transformer_clap\.layer_stack\.(\d+)\.pos_ffn\.w_([12])\.", r"audio_transform.layers.\1.fc\2."),
    (r"audio_transformer_clap\.layer_stack\.(\d+)\.pos_ffn\.layer_norm\.", r"audio_transform.layers.\1.norm."),
    (r"lang_encoder\.model\.", "language_model."),
    (r"\.gated_cross_attn_layer_sound\.attn_gate", ".cross_attention.attention_gate"),
    (r"\.gated_cross_attn_layer_sound\.ff_gate", ".cross_attention.feed_forward_gate"),
    (r"\.gated_cross_attn_layer_sound\.attn\.norm\.", ".cross_attention.norm."),
    (r"\.gated_cross_attn_layer_sound\.attn\.to_(q|kv)\.", r".cross_attention.\1_proj."),
    (r"\.gated_cross_attn_layer_sound\.attn\.to_out\.", ".cross_attention.o_proj."),
    (r"\.gated_cross_attn_layer_sound\.ff\.0\.", ".cross_attention.feed_forward_norm."),
    (r"\.gated_cross_attn_layer_sound\.ff\.1\.", ".cross_attention.fc1."),
    (r"\.gated_cross_attn_layer_sound\.ff\.3\.", ".cross_attention.fc2."),
)


def converted(published: Mapping[str, Tensor], heads: HeadWidths) -> Converted:
    """A published checkpoint, with AF-CLAP, for `AudioFlamingo2ForConditionalGeneration`.

    Raises:
        UserError: a name that no such checkpoint has, or one that is missing to tell the sizes.
    """
    kept = used(published)
    weights = renamed(kept)
    audio_head_dim, text_head_dim = transform_head_dim(published, heads.audio), heads.text or TEXT_HEAD_DIM
    config = configured(weights, audio_head_dim, text_head_dim)
    assumed = f"{text_head_dim} wide heads in the language model, {audio_head_dim} wide in the transform"
    return Converted(config, weights, sorted(published.keys() - kept.keys()), assumed)


def configured(weights: Mapping[str, Tensor], audio_head_dim: int, text_head_dim: int) -> AudioFlamingo2Config:
    """Sizes of an `AudioFlamingo2ForConditionalGeneration` with such weights.

    Raises:
        UserError: a tensor is missing, or the sizes do not fit.
    """
    body = below(weights, "model.")
    language_model = below(body, "language_model.")
    hearing = [
        number
        for number in range(numbered(language_model, "layers."))
        if f"layers.{number}.cross_attention.q_proj.weight" in language_model
    ]
    if not hearing:
        raise UserError("expected cross-attention before layers of the language model, got none: give another file")
    cross_head_dim = AudioFlamingo2Config.cross_attention_head_dim
    cross_width = size(language_model, f"layers.{hearing[0]}.cross_attention.q_proj.weight")
    return AudioFlamingo2Config(
        audio_config=_clap_sizes(below(body, "audio_tower.audio_encoder.")),
        text_config={
            **QWEN2_5_3B,
            **decoder_sizes(language_model, text_head_dim, "decoder_layer."),
        },
        transform_layers=numbered(body, "audio_transform.layers."),
        transform_heads=num_heads(size(body, "audio_transform.norm.weight"), audio_head_dim, "give --audio-head-dim"),
        transform_feed_forward=size(body, "audio_transform.layers.0.fc1.weight"),
        cross_attention_interval=hearing[0] + 1,
        cross_attention_heads=num_heads(cross_width, cross_head_dim, "give another file"),
    )


def _clap_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    if not weights:
        raise UserError("expected AF-CLAP's tensors too, got none: give its checkpoint as --clap")
    stages = range(numbered(weights, "layers."))
    table = "layers.{}.blocks.0.attention.self.relative_position_bias_table"
    # A window of n by n patches has (2 n - 1) squared relative positions.
    window_size = (math.isqrt(size(weights, table.format(0))) + 1) // 2
    width, patch = size(weights, "patch_embed.proj.weight"), size(weights, "patch_embed.proj.weight", -1)
    return {
        **HTSAT_LARGE,
        "patch_embeds_hidden_size": width,
        "hidden_size": size(weights, "norm.weight"),
        "depths": [numbered(weights, f"layers.{stage}.blocks.") for stage in stages],
        "num_attention_heads": [size(weights, table.format(stage), 1) for stage in stages],
        "num_mel_bins": size(weights, "batch_norm.weight"),
        "patch_size": patch,
        "patch_stride": [patch, patch],
        "window_size": window_size,
        "mlp_ratio": size(weights, "layers.0.blocks.0.intermediate.dense.weight") / width,
    }


def transform_head_dim(published: Mapping[str, Tensor], wanted: int | None) -> int:
    """Width of the transform's heads: as `wanted`, as the file tells, or as published.

    Half of a head's dimensions are rotated, but no fewer than `FEWEST_ROTARY`; a narrow head's width is not told.

    Raises:
        UserError: the file has it otherwise, or does not tell.
    """
    if _ROTATION not in published:
        return wanted or TRANSFORM_HEAD_DIM
    rotated = 2 * published[_ROTATION].numel()
    head_dim = wanted or 2 * rotated
    if max(head_dim // 2, FEWEST_ROTARY) != rotated or (not wanted and rotated == FEWEST_ROTARY):
        raise UserError(
            f"audio_head_dim: expected heads with {rotated} rotated dimensions, as {_ROTATION} has them, got "
            f"{wanted or 'no width'}: give --audio-head-dim, at most {2 * rotated}"
        )
    return head_dim


def clap_branch(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The audio branch of AF-CLAP's own checkpoint, as a checkpoint of Audio Flamingo 2 names it.

    Raises:
        UserError: there is none.
    """
    branch = below(published, "audio_branch.")
    if not branch:
        raise UserError(f"expected AF-CLAP's audio_branch, got the names {first_names(published)}: give another file")
    return {f"clap.nvclap.{name}": tensor for name, tensor in branch.items()}


def used(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the model uses, each under one name.

    Raises:
        UserError: two tensors that should be one are not.
    """
    once = without_aliases(published, lambda name: _substituted(name, _ALIASES))
    return {name: tensor for name, tensor in once.items() if _is_used(name)}


def _is_used(name: str) -> bool:
    clap = _CLAP_PREFIX.match(name)
    return not _CLAP_NOT_USED.fullmatch(name[clap.end() :]) if clap else name != _ROTATION


def renamed(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `used` keeps of a checkpoint as `AudioFlamingo2ForConditionalGeneration` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    clap = {_CLAP_PREFIX.sub("", name): each for name, each in kept.items() if _CLAP_PREFIX.match(name)}
    ours = {f"model.audio_tower.audio_encoder.{name}": each for name, each in renamed_clap(clap).items()}
    unknown = []
    for name, tensor in kept.items():
        if name.startswith(("audio_transformer_clap.", "lang_encoder.model.")):
            ours[f"model.{_substituted(name, _NAMES)}"] = tensor
        elif not _CLAP_PREFIX.match(name):
            unknown.append(name)
    if unknown:
        raise UserError(
            f"expected an Audio Flamingo 2 checkpoint, got the names {first_names(unknown)}: give another file"
        )
    return ours


def renamed_clap(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AF-CLAP's audio branch as transformers' `ClapAudioEncoder` names it."""
    return dict(each for name, tensor in published.items() for each in _renamed_clap(name, tensor))


def _renamed_clap(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if _CLAP_NOT_USED.fullmatch(name):
        return
    found = _QKV.fullmatch(name)
    if found is None:
        yield _substituted(name, _CLAP_NAMES), tensor
        return
    for part, piece in zip(("query", "key", "value"), thirds(name, tensor), strict=True):
        yield f"{found[1]}.attention.self.{part}.{found[2]}", piece


def _substituted(name: str, substitutions: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in substitutions:
        name = re.sub(pattern, replacement, name)
    return name
