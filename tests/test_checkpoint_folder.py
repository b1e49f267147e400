import hashlib
import json
import os
import random
import resource
import shutil
import signal
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from music_flamingo.checkpoint_folder import (
    MANIFEST,
    CheckpointFolder,
    Rows,
    damage,
    is_whole,
    newest_first,
    write_manifest,
    write_rank,
)
from music_flamingo.errors import UserError
from music_flamingo.plain_state import as_json
from music_flamingo.run_resume import newest_checkpoint

WEIGHT = torch.arange(14.0).view(7, 2)
STATE = {"state_dict": {"weight": WEIGHT, "scale": torch.tensor(2.5)}, "loops": {"step": 3}}
NAMES = ("state_dict/weight", "state_dict/scale")


def write(folder: Path, *starts: int) -> Path:
    """A checkpoint of as many ranks as there are starts, each of which holds the rows from its own on."""
    stops = [*starts[1:], len(WEIGHT)]
    for rank, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        held = {NAMES[0]: Rows(WEIGHT[start:stop], start, (7, 2))} if start < stop else {}
        write_rank(folder, rank, held | ({NAMES[1]: Rows(torch.tensor(2.5), 0, ())} if rank == 0 else {}))
    write_manifest(folder, len(starts), as_json(STATE))
    return folder


@pytest.mark.parametrize("starts", [[0], [0, 4], [0, 3, 6], [0, 4, 7]])
def test_any_rows_are_read_however_many_ranks_wrote_them(starts: list[int], tmp_path: Path) -> None:
    checkpoint = CheckpointFolder(write(tmp_path / "step-3.ckpt", *starts))
    assert is_whole(checkpoint.folder)
    read = checkpoint.state()
    assert torch.equal(read["state_dict"]["weight"], WEIGHT)
    assert read["state_dict"]["scale"].item() == 2.5
    assert read["loops"] == {"step": 3}
    for start in range(7):
        for stop in range(start, 8):
            assert torch.equal(checkpoint.read(NAMES[0], start, stop), WEIGHT[start:stop])


def test_the_files_are_safetensors_and_json_that_anyone_reads(tmp_path: Path) -> None:
    folder = write(tmp_path / "step-3.ckpt", 0, 4)
    assert sorted(os.listdir(folder)) == [MANIFEST, "rank-00000.safetensors", "rank-00001.safetensors"]
    assert torch.equal(load_file(folder / "rank-00001.safetensors")[NAMES[0]], WEIGHT[4:])
    manifest = json.loads((folder / MANIFEST).read_text().splitlines()[0])
    for name, described in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert described == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_folder_without_all_ranks_parts_is_no_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "step-3.ckpt"
    write_rank(folder, 0, {NAMES[0]: Rows(WEIGHT[:4], 0, (7, 2))})
    waiting = threading.Thread(target=write_manifest, args=(folder, 2, as_json({"weight": WEIGHT})))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert damage(folder) == MANIFEST
    write_rank(folder, 1, {NAMES[0]: Rows(WEIGHT[4:], 4, (7, 2))})
    waiting.join(10)
    assert is_whole(folder)


@pytest.mark.parametrize("name", [MANIFEST, "rank-00001.safetensors"])
def test_a_file_cut_anywhere_is_named(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "step-3.ckpt", 0, 4)
    content = (folder / name).read_bytes()
    for offset in {0, 1, *(len(content) * part // 32 for part in range(32)), len(content) - 1}:
        (folder / name).write_bytes(content[:offset])
        assert damage(folder) == name, offset
    (folder / name).write_bytes(content + b"0")
    assert damage(folder) == name
    (folder / name).unlink()
    assert damage(folder) == name


def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(tmp_path: Path) -> None:
    before, newest = (write(tmp_path / f"step-{step}.ckpt", 0, 4) for step in (2, 3))
    assert newest_first(tmp_path) == [newest, before]
    rng = random.Random(0)
    for name in sorted(os.listdir(newest)):
        content = (newest / name).read_bytes()
        for _ in range(60):
            spoilt = bytearray(content)
            spoilt[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            (newest / name).write_bytes(spoilt)
            assert damage(newest) == name
        (newest / name).write_bytes(content)
    (newest / "rank-00001.safetensors").write_bytes(b"")
    expected = r"step-3.ckpt/rank-00001.safetensors: damaged, going on from .*step-2.ckpt"
    with pytest.warns(UserWarning, match=expected) as warned:
        assert newest_checkpoint(tmp_path) == before
    assert len(warned) == 1
    shutil.rmtree(newest)
    (before / MANIFEST).unlink()
    with pytest.warns(UserWarning, match="damaged, and no other checkpoint is there"):
        assert newest_checkpoint(tmp_path) is None


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    before = write(tmp_path / "step-2.ckpt", 0)
    large = {"weight": Rows(torch.zeros(1 << 16), 0, (1 << 16,))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(UserError, match=r"step-3.ckpt: expected to write a checkpoint, got [^\n]*: make room"):
            write_rank(tmp_path / "step-3.ckpt", 0, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.warns(UserWarning, match="damaged, going on from"):
        assert newest_checkpoint(tmp_path) == before


def test_a_folder_that_takes_no_files_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match=r"step-3.ckpt: expected to write a checkpoint, got .*: make room or give"):
        write(tmp_path / "checkpoints" / "step-3.ckpt", 0)


def test_structures_come_back_as_they_were(tmp_path: Path) -> None:
    numbers = {1: "one", (2, "b"): (3, [4.5, None]), "$tensor": True, "nan": [float("inf"), -0.0]}
    tensors: dict[str, Tensor] = {"half": torch.arange(3, dtype=torch.bfloat16), "flags": torch.tensor([True, False])}
    folder = tmp_path / "step-1.ckpt"
    write_rank(folder, 0, {f"t/{name}": Rows(each, 0, tuple(each.shape)) for name, each in tensors.items()})
    write_manifest(folder, 1, as_json({"n": numbers, "t": tensors}))
    read = CheckpointFolder(folder).state()
    assert read["n"] == numbers
    assert type(read["n"][2, "b"]) is tuple
    assert all(
        torch.equal(read["t"][name], each) and read["t"][name].dtype == each.dtype for name, each in tensors.items()
    )


def test_what_is_neither_plain_nor_a_tensor_is_named() -> None:
    with pytest.raises(UserError, match=r"got PosixPath at callbacks/Sampler/1: give state_dict"):
        as_json({"callbacks": {"Sampler": [1, Path("/")]}})
