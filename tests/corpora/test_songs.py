import errno
import gzip
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from lhotse import Recording

from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from tests.builders import write_corpus


def plain_corpus(folder: Path, songs: int = 3) -> Path:
    """The manifest of training songs, not compressed."""
    write_corpus(folder, train=songs, held_out=1, seconds=1.0)
    compressed = folder / "cuts_train.jsonl.gz"
    plain = folder / "cuts_train.jsonl"
    plain.write_bytes(gzip.decompress(compressed.read_bytes()))
    compressed.unlink()
    return plain


def test_songs_of_a_plain_manifest_are_those_of_a_compressed_one(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=3, held_out=1, seconds=1.0)
    listed = [cut.to_dict() for cut in open_songs(tmp_path, "train")]
    plain_corpus(tmp_path)
    songs = open_songs(tmp_path, "train")
    assert len(songs) == 3
    assert [cut.to_dict() for cut in songs] == [cut.to_dict() for cut in read_cuts(tmp_path, "train")] == listed
    assert songs[-1].id == "train-2"
    assert [cut.id for cut in songs[1:]] == ["train-1", "train-2"]
    assert songs.durations.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(IndexError):
        songs[3]


def test_the_index_is_kept_and_made_again_once_the_manifest_changes(tmp_path: Path) -> None:
    manifest = plain_corpus(tmp_path, songs=2)
    open_songs(tmp_path, "train")
    index = tmp_path / "cuts_train.jsonl.index"
    made = index.stat().st_mtime_ns
    open_songs(tmp_path, "train")
    assert index.stat().st_mtime_ns == made
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[::-1]))  # as long as before
    os.utime(manifest, ns=(0, 0))
    assert [cut.id for cut in open_songs(tmp_path, "train")] == ["train-1", "train-0"]
    manifest.write_bytes(lines[0])
    assert len(open_songs(tmp_path, "train")) == 1


def test_a_folder_that_cannot_be_written_to_keeps_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    plain_corpus(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert [cut.id for cut in open_songs(tmp_path, "train")] == ["train-0", "train-1", "train-2"]
    assert not list(tmp_path.glob("*.index*"))


def test_songs_can_be_sent_to_another_process(tmp_path: Path) -> None:
    plain_corpus(tmp_path)
    songs = open_songs(tmp_path, "train")
    sent = pickle.dumps(songs)
    assert len(sent) < 500
    assert pickle.loads(sent)[1].to_dict() == songs[1].to_dict()


def test_further_sounds_have_paths_below_the_corpus(tmp_path: Path) -> None:
    manifest = plain_corpus(tmp_path, songs=1)
    line = json.loads(manifest.read_text())
    line["custom"]["sound_2"] = {**line["recording"], "id": "second"}
    manifest.write_text(json.dumps(line))
    cut = open_songs(tmp_path, "train")[0]
    second = cut.custom["sound_2"]
    assert isinstance(second, Recording)
    assert second.sources[0].source == cut.recording.sources[0].source == str(tmp_path / "audio" / "train-0.flac")


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ('{"id": "a", "start": 0, "duration": 1.5, "channel": 0, "supervisions": [{"duration": 9}]}', 1.5),
        ('{"id":"a \\" , {","start":0.5,"duration":2}', 2.0),
        ('{"recording": {"duration": 9}, "duration": 3}', 3.0),
        ('{"id": "a", "custom": {"id": "b", "start": 0, "duration": 9}, "start": 0, "duration": 4}', 4.0),
        ('{"id": "a"}', np.nan),
        ('{"id": "a", "start": 0, "duration": 1-2, ', np.nan),
        ("[1]", np.nan),
    ],
)
def test_the_index_tells_durations_of_the_cuts_themselves(tmp_path: Path, line: str, seconds: float) -> None:
    (tmp_path / "cuts_train.jsonl").write_text(f"{line}\n{line}")
    np.testing.assert_equal(open_songs(tmp_path, "train").durations, [seconds, seconds])


def test_no_songs_have_an_index_too(tmp_path: Path) -> None:
    (tmp_path / "cuts_train.jsonl").write_text("")
    assert [list(open_songs(tmp_path, "train")) for _ in range(2)] == [[], []]


def test_a_truncated_line_is_named_when_it_is_read(tmp_path: Path) -> None:
    manifest = plain_corpus(tmp_path)
    manifest.write_bytes(manifest.read_bytes()[:-40])
    songs = open_songs(tmp_path, "train")
    assert songs[1].id == "train-1"
    with pytest.raises(UserError, match=r"cuts_train.jsonl:3: expected a cut as JSON, got"):
        songs[2]


@pytest.mark.parametrize("spoil", [lambda data: data[:-8], lambda data: b"", lambda data: b"x" * 64])
def test_a_broken_index_is_named(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    plain_corpus(tmp_path)
    open_songs(tmp_path, "train")
    index = tmp_path / "cuts_train.jsonl.index"
    index.write_bytes(spoil(index.read_bytes()))
    with pytest.raises(UserError, match=re.escape(f"{index}: expected an index of songs, got ") + r"[^\n]*remove it"):
        open_songs(tmp_path, "train")


def test_a_split_stored_twice_is_an_error(tmp_path: Path) -> None:
    write_corpus(tmp_path, train=1, held_out=1, seconds=1.0)
    (tmp_path / "cuts_val.jsonl").write_text("")
    with pytest.raises(UserError, match=r"expected the val cuts once, got cuts_val.jsonl.gz and cuts_val.jsonl"):
        open_songs(tmp_path, "val")
