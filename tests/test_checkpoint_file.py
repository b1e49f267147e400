import os
import random
import resource
import signal
from pathlib import Path

import pytest
import torch

from music_flamingo.checkpoint_file import is_whole, newest_first, write_checkpoint
from music_flamingo.errors import UserError
from music_flamingo.run_resume import newest_checkpoint

CHECKPOINT = {"state_dict": {"weight": torch.arange(600.0)}, "loops": {"step": 3}}


def test_a_checkpoint_is_read_by_torch_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step-3.ckpt"
    write_checkpoint(CHECKPOINT, path)
    assert is_whole(path)
    read = torch.load(path, weights_only=True)
    assert torch.equal(read["state_dict"]["weight"], torch.arange(600.0))
    assert read["loops"] == {"step": 3}
    assert [each.name for each in path.parent.iterdir()] == ["step-3.ckpt"]


def test_a_checkpoint_cut_anywhere_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "step-3.ckpt"
    write_checkpoint(CHECKPOINT, path)
    content = path.read_bytes()
    for offset in {0, 1, *(len(content) * part // 64 for part in range(64)), len(content) - 1}:
        path.write_bytes(content[:offset])
        assert not is_whole(path), offset
    path.write_bytes(content + b"0")
    assert not is_whole(path)


def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(tmp_path: Path) -> None:
    before, newest = tmp_path / "step-2.ckpt", tmp_path / "step-3.ckpt"
    for age, path in ((2, before), (1, newest)):
        write_checkpoint(CHECKPOINT, path)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert newest_first(tmp_path) == [newest, before]
    content, rng = newest.read_bytes(), random.Random(0)
    for _ in range(200):
        spoilt = bytearray(content)
        spoilt[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        newest.write_bytes(spoilt)
        assert not is_whole(newest)
    with pytest.warns(UserWarning, match=r"step-3.ckpt: damaged, going on from .*step-2.ckpt") as warned:
        assert newest_checkpoint(tmp_path) == before
    assert len(warned) == 1
    before.write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged, and no other checkpoint is there"):
        assert newest_checkpoint(tmp_path) is None


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(CHECKPOINT, path)
    content, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limits[1]))
    try:
        with pytest.raises(UserError, match="last.ckpt: expected to write a checkpoint, got File too large: make room"):
            write_checkpoint(CHECKPOINT, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_folder_that_takes_no_files_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(
        UserError, match="step-3.ckpt: expected to write a checkpoint, got .*: make room or give another"
    ):
        write_checkpoint(CHECKPOINT, tmp_path / "checkpoints" / "step-3.ckpt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_keeps_its_checkpoints(tmp_path: Path) -> None:
    write_checkpoint(CHECKPOINT, tmp_path / "step-2.ckpt")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="got Permission denied: make room or give another folder"):
            write_checkpoint(CHECKPOINT, tmp_path / "step-3.ckpt")
    finally:
        tmp_path.chmod(0o700)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-2.ckpt"
