import zipfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from music_flamingo.corpora.songbook.catalogue import Candidate, corpus_root, list_candidates
from music_flamingo.errors import UserError

HEADER = "X:1\nT:{title}\nM:{meter}\nL:1/8\nR:{rhythm}\nK:{key}\nGABc dedB|\n"


def scan(root: Path) -> tuple[list[Candidate], Counter[str]]:
    dropped: Counter[str] = Counter()
    return list_candidates(root, dropped), dropped


def write_tune(
    root: Path, title: str = "A", meter: str = "4/4", rhythm: str = "", key: str = "G", more: str = ""
) -> None:
    folder = root / "ryansMammoth"
    folder.mkdir(exist_ok=True)
    text = HEADER.format(title=title, meter=meter, rhythm=rhythm, key=key) + more
    (folder / f"{title.replace(' ', '')}.abc").write_text(text)


def write_musicxml(path: Path, key: str, time: str) -> None:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", f"<score-partwise><attributes>{key}{time}</attributes></score-partwise>")


def test_a_tune_says_its_key_meter_and_dance(tmp_path: Path) -> None:
    write_tune(tmp_path, "Acacia -- Reel", "C|", key="Am")
    (candidate,), dropped = scan(tmp_path)
    assert (candidate.tradition, candidate.meter, candidate.scale) == ("fiddle tune", "4/4", Fraction(1))
    assert (candidate.tonic, candidate.mode, candidate.dance) == (9, "minor", "reel")
    assert candidate.title == "Acacia -- Reel"
    assert not dropped


@pytest.mark.parametrize(
    ("title", "rhythm", "dance"),
    [
        ("The Kesh Jig", "reel", "jig"),
        ("The Boyne", "hornpipe", "hornpipe"),
        ("Two Marches", "", None),
        ("Three Waltzs", "", "waltz"),
        ("Reeling Home", "", None),
        ("AcaciaReel", "", "reel"),
    ],
)
def test_the_title_names_the_dance_before_the_rhythm_field(
    tmp_path: Path, title: str, rhythm: str, dance: str | None
) -> None:
    write_tune(tmp_path, title, rhythm=rhythm)
    assert scan(tmp_path)[0][0].dance == dance


@pytest.mark.parametrize(
    ("key", "tonic", "mode"),
    [
        ("G", 7, "major"),
        ("Bb", 10, "major"),
        ("F#m", 6, "minor"),
        ("E Minor", 4, "minor"),
        ("Dmaj", 2, "major"),
    ],
)
def test_keys_of_abc_are_read(tmp_path: Path, key: str, tonic: int, mode: str) -> None:
    write_tune(tmp_path, key=key)
    (candidate,), _ = scan(tmp_path)
    assert (candidate.tonic, candidate.mode) == (tonic, mode)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "Ador"}, "mode neither major nor minor"),
        ({"key": "Hp"}, "mode neither major nor minor"),
        ({"meter": "5/4"}, "rare meter"),
        ({"more": "M:6/8\nGABdcB|\n"}, "meter changes"),
        ({"more": "GAB [K:D] def|\n"}, "key changes"),
        ({"more": "V:2\nGABc dedB|\n"}, "tune in several voices"),
    ],
)
def test_unsuitable_tunes_are_counted_with_the_reason(tmp_path: Path, fields: dict[str, str], reason: str) -> None:
    write_tune(tmp_path, **fields)
    candidates, dropped = scan(tmp_path)
    assert not candidates
    assert dropped == {reason: 1}


def test_tunes_without_meter_or_key_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "airdsAirs"
    folder.mkdir()
    (folder / "book1.abc").write_text("% a book\n\nX:1\nT:A\nK:G\nGAB|\n\nX:2\nT:B\nM:C\nGAB|\n\nX:3\nM:C\nK:D\ndef|\n")
    candidates, dropped = scan(tmp_path)
    assert [candidate.name for candidate in candidates] == ["airdsAirs/book1#3"]
    assert dropped == {"no meter": 1, "no key": 1}


def test_white_notation_is_halved_and_movements_belong_to_their_mass(tmp_path: Path) -> None:
    folder = tmp_path / "palestrina"
    folder.mkdir()
    (folder / "Kyrie_07.krn").write_text("**kern\n*k[b-]\n*F:ion\n*M4/2\n1f\n*-\n")
    (folder / "Gloria_07_a.krn").write_text("**kern\n*A:aeo\n*M3/2\n1a\n*-\n")
    (folder / "Agnus_08.krn").write_text("**kern\n*D:dor\n*M4/2\n1d\n*-\n")
    candidates, dropped = scan(tmp_path)
    read = [(c.work, c.meter, c.scale, c.tonic, c.mode) for c in candidates]
    assert read == [
        ("palestrina/07", "3/4", Fraction(1, 2), 9, "minor"),
        ("palestrina/07", "4/4", Fraction(1, 2), 5, "major"),
    ]
    assert dropped == {"mode neither major nor minor": 1}


def test_musicxml_says_key_by_fifths_and_mode(tmp_path: Path) -> None:
    key = "<key><fifths>3</fifths><mode>minor</mode></key>"
    time = "<time><beats>3</beats><beat-type>4</beat-type></time>"
    write_musicxml(tmp_path / "mozart/k155/movement1.mxl", key, time)
    write_musicxml(tmp_path / "bach/bwv1.6.mxl", "<key><fifths>-2</fifths></key>", time)
    (candidate,), dropped = scan(tmp_path)
    assert (candidate.tradition, candidate.work) == ("quartet", "mozart/k155")
    assert (candidate.tonic, candidate.mode, candidate.meter) == (6, "minor", "3/4")
    assert dropped == {"mode neither major nor minor": 1}


def test_a_score_that_would_take_seconds_to_parse_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "palestrina").mkdir()
    (tmp_path / "palestrina/Credo_01.krn").write_text("*M4/2\n*C:ion\n" + "1c\n" * 20_000)
    assert scan(tmp_path) == ([], {"long score": 1})


def test_a_missing_music21_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install music21"):
        corpus_root()


def test_music21_holds_all_four_traditions() -> None:
    candidates, dropped = scan(corpus_root())
    assert {candidate.tradition for candidate in candidates} == {
        "fiddle tune",
        "chorale",
        "renaissance",
        "quartet",
    }
    assert len({candidate.name for candidate in candidates}) == len(candidates) > 3000
    assert dropped["mode neither major nor minor"] > 0
