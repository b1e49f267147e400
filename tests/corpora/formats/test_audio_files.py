from pathlib import Path

import pytest

from music_flamingo.corpora.formats.audio_files import AudioFiles, Header, below, stem
from music_flamingo.corpora.formats.record import NotImportedError
from tests.corpora.formats.folders import write_sounds


def test_a_file_has_one_name_however_its_path_is_written(tmp_path: Path) -> None:
    files = AudioFiles(tmp_path)
    spellings = ["b/a.wav", "./b/a.wav", "b//a.wav", "b/./a.wav", "c/../b/a.wav", str(tmp_path / "b" / "a.wav")]
    assert {files.key(path) for path in spellings} == {"b/a.wav"}
    assert files.key(".hidden/..a.wav") == ".hidden/..a.wav"


@pytest.mark.parametrize("path", ["../a.wav", "b/../../a.wav", "/etc/passwd", "."])
def test_paths_out_of_the_root_are_refused_unless_allowed(tmp_path: Path, path: str) -> None:
    with pytest.raises(NotImportedError, match="audio outside the audio root"):
        AudioFiles(tmp_path).key(path)
    assert Path(AudioFiles(tmp_path, allow_outside=True).key(path)).is_absolute()


def test_a_folder_whose_name_only_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    with pytest.raises(NotImportedError, match="outside"):
        AudioFiles(tmp_path / "audio").key("../audio2/a.wav")


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotImportedError, match="no sound file named"):
        AudioFiles(tmp_path).key("a\0.wav")


def test_links_out_of_the_root_are_refused_and_links_inside_are_followed(tmp_path: Path) -> None:
    root = write_sounds(tmp_path / "root", "a.wav")
    write_sounds(tmp_path, "elsewhere/b.wav")
    (root / "out.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "in.wav").symlink_to(root / "a.wav")
    headers = AudioFiles(root).headers(["out.wav", "folder/b.wav", "in.wav"])
    assert headers["out.wav"] == headers["folder/b.wav"] == "audio outside the audio root"
    assert headers["in.wav"] == Header(8000, 8000, 1)
    assert AudioFiles(root, allow_outside=True).headers(["out.wav"])["out.wav"] == Header(8000, 8000, 1)


def test_headers_are_read_once_or_say_what_is_wrong(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", seconds=0.5, rate=16000, channels=2)
    write_sounds(tmp_path, "empty.wav", seconds=0)
    (tmp_path / "text.wav").write_text("no audio")
    names = ["a.wav", "empty.wav", "text.wav", "missing.wav", *(f"missing-{number}.wav" for number in range(8))]
    files = AudioFiles(tmp_path)
    for _ in range(2):
        headers = files.headers(names)
    assert headers["a.wav"] == Header(16000, 8000, 2)
    assert headers["empty.wav"] == "audio without samples"
    assert headers["text.wav"] == "audio unreadable"
    assert headers["missing.wav"] == "audio missing"
    assert files.headers_read == len(names)


def test_paths_are_relative_only_below_a_folder(tmp_path: Path) -> None:
    assert below(tmp_path / "a" / "b.wav", tmp_path) == "a/b.wav"
    assert below(tmp_path / "b.wav", tmp_path / "a") == str(tmp_path / "b.wav")


def test_a_stem_has_no_suffixes() -> None:
    assert (stem(Path("x/a.jsonl.gz")), stem(Path(".hidden"))) == ("a", ".hidden")
