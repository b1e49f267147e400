"""Weights under the names of the published AF-CLAP and Audio Flamingo 2 checkpoints, and under ours."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from music_flamingo.errors import UserError

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
_CLAP_PREFIX = re.compile(r"(module\.audio_branch|clap\.nvclap|clap\.afclap)\.")
_ALIASES = re.compile(
    r"lang_encoder\.(old_decoder_blocks|gated_cross_attn_layers_sound)\..*|lang_encoder\.lm_head\.weight"
    r"|audio_transformer_clap\.position_enc\.inv_freq"
)
"""Tensors that stand under another name too, or are computed."""
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


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published checkpoint of Audio Flamingo 2 as `AudioFlamingo2ForConditionalGeneration` names it.

    Raises:
        UserError: a name that no such checkpoint has.
    """
    clap = {_CLAP_PREFIX.sub("", name): each for name, each in published.items() if _CLAP_PREFIX.match(name)}
    ours = {f"audio_tower.audio_encoder.{name}": each for name, each in renamed_clap(clap).items()}
    for name, tensor in published.items():
        if _CLAP_PREFIX.match(name) or _ALIASES.fullmatch(name):
            continue
        if not name.startswith(("audio_transformer_clap.", "lang_encoder.model.")):
            raise UserError(f"expected an Audio Flamingo 2 checkpoint, got the name {name}: give another file")
        ours[_substituted(name, _NAMES)] = tensor
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
    for part, piece in zip(("query", "key", "value"), torch.chunk(tensor, 3), strict=True):
        yield f"{found[1]}.attention.self.{part}.{found[2]}", piece


def _substituted(name: str, substitutions: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in substitutions:
        name = re.sub(pattern, replacement, name)
    return name
