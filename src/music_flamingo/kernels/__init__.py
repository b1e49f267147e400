"""Tensor kernels, each beside its plain-torch reference."""

from music_flamingo.kernels.grid_attention import GridFlash, PlainAttention
from music_flamingo.kernels.prefix_attention import PrefixAttention
from music_flamingo.kernels.varlen_attention import FlashAttnVarlen, TorchVarlen, VarlenFlash

__all__ = ["FlashAttnVarlen", "GridFlash", "PlainAttention", "PrefixAttention", "TorchVarlen", "VarlenFlash"]
