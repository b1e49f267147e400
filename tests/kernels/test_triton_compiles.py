"""Kernels compile for a GPU, which needs none: Triton's interpreter runs what its compiler refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from music_flamingo.kernels.triton_device import HAS_TRITON

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from music_flamingo.kernels import rotary_triton, rote_triton

def compile_kernel(kernel, pointers, direction="fp32", **constants):
    names = [name for name in kernel.arg_names if name not in constants]
    types = {**dict.fromkeys(names, "i32"), **pointers, "direction": direction}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, len(compiled.asm["cubin"]) > 0)

for dtype in ("*fp32", "*bf16", "*fp16"):
    tables = {"steps": "*i64", "windows": "*i64"}
    compile_kernel(
        rote_triton._turn_kernel, {"hidden": dtype, **tables}, stride_channel=1, TILE_FRAMES=8, TILE_PAIRS=128
    )
    tables = {"steps": "*i64", "positions": "*i64"}
    heads = {"heads": dtype, "turned": dtype}
    compile_kernel(rotary_triton._turn_kernel, {**heads, **tables}, TILE_HEADS=8, TILE_TOKENS=16, TILE_PAIRS=64)
"""


@pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
def test_every_kernel_compiles_for_an_h100(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["_turn_kernel True"] * 6
