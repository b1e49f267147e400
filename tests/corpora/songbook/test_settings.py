import json
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.corpora.songbook.settings import SongbookSettings, identity, is_built
from music_flamingo.errors import UserError


@pytest.fixture
def soundfont(tmp_path: Path) -> Path:
    path = tmp_path / "a.sf2"
    path.write_bytes(b"sound")
    return path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clips", 19),
        ("clip_seconds", 5.9),
        ("full_pieces", -1),
        ("full_seconds", (200, 120)),
        ("full_seconds", (59, 120)),
        ("full_seconds", (120, 601)),
        ("workers", 0),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^{field}: expected"):
        SongbookSettings(**{field: value})


def test_workers_and_the_place_of_the_soundfont_do_not_make_another_corpus(soundfont: Path, tmp_path: Path) -> None:
    copy = tmp_path / "b.sf2"
    copy.write_bytes(b"sound")
    assert identity(SongbookSettings(workers=1), soundfont) == identity(SongbookSettings(workers=8), copy)
    assert identity(SongbookSettings(seed=1), soundfont) != identity(SongbookSettings(seed=2), soundfont)


def test_another_soundfont_makes_another_corpus(soundfont: Path) -> None:
    before = identity(SongbookSettings(), soundfont)
    soundfont.write_bytes(b"another")
    assert identity(SongbookSettings(), soundfont) != before


def test_a_soundfont_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"soundfont: expected .* found none at .*gone\.sf2"):
        identity(SongbookSettings(), tmp_path / "gone.sf2")


def test_nothing_and_an_empty_folder_are_not_built(tmp_path: Path) -> None:
    assert not is_built(tmp_path / "new", {})
    (tmp_path / "empty").mkdir()
    assert not is_built(tmp_path / "empty", {})


def test_the_same_corpus_is_built(tmp_path: Path, soundfont: Path) -> None:
    wanted = identity(SongbookSettings(), soundfont)
    out = tmp_path / "corpus"
    out.mkdir()
    (out / "corpus.json").write_text(json.dumps({"settings": wanted}))
    assert is_built(out, wanted)


def test_another_corpus_is_refused_with_the_field_that_differs(tmp_path: Path, soundfont: Path) -> None:
    out = tmp_path / "corpus"
    out.mkdir()
    (out / "corpus.json").write_text(json.dumps({"settings": identity(SongbookSettings(seed=1), soundfont)}))
    with pytest.raises(UserError, match=r"seed 2, .*corpus\.json says 1"):
        is_built(out, identity(SongbookSettings(seed=2), soundfont))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_other_files_are_not_overwritten(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        is_built(out, {})
