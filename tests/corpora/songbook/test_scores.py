from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from music_flamingo.corpora.songbook.catalogue import Candidate
from music_flamingo.corpora.songbook.scores import Piece, gather_pieces, read_piece, tune_fingerprint

from .pieces import line, piece

BARS = "GABc dedB|dedB dedB|c2ec B2dB|A2A2 AFED|"
ENDING = "GABc dedB|dedB dedB|c2ec B2dB|A2A2 G4|"


def candidate(music: str = BARS + ENDING, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "name": "folder/tune",
        "work": "folder/tune",
        "tradition": "fiddle tune",
        "path": Path("tune.abc"),
        "tune": f"X:1\nT:Tune\nM:4/4\nL:1/8\nK:G\n{music}\n",
        "title": "Tune",
        "meter": "4/4",
        "scale": Fraction(1),
        "tonic": 7,
        "mode": "major",
        "dance": None,
    }
    return Candidate(**(fields | changes))


def read(music: str, **changes: Any) -> Piece:
    result = read_piece(candidate(music, **changes))
    assert isinstance(result, Piece)
    return result


def test_a_tune_becomes_onsets_durations_and_pitches_in_quarters() -> None:
    (part,) = read(BARS + ENDING).parts
    assert part[:5] == ((0.0, 0.5, 67), (0.5, 0.5, 69), (1.0, 0.5, 71), (1.5, 0.5, 72), (2.0, 0.5, 74))
    assert part[-1] == (30.0, 2.0, 67)


def test_bars_are_counted_from_the_first_whole_one_and_the_upbeat_comes_before() -> None:
    tune = read("D2|" + BARS + ENDING)
    assert tune.parts[0][:2] == ((-1.0, 1.0, 62), (0.0, 0.5, 67))
    assert (tune.bars, tune.bar_quarters) == (8, 4.0)


def test_ties_are_joined_grace_notes_skipped_and_of_chords_the_top_stays() -> None:
    (part,) = read("{d}G4- G4|[GBd]4 B4|" + BARS + ENDING).parts
    assert part[:3] == ((0.0, 4.0, 67), (4.0, 2.0, 74), (6.0, 2.0, 71))


def test_repeats_are_not_expanded() -> None:
    assert read(f"|:{BARS}:|{ENDING}").bars == 8


def test_white_notation_is_halved(tmp_path: Path) -> None:
    rows = [f"={bar}\n2g\n2b\n2dd\n2b" for bar in range(1, 9)]
    path = tmp_path / "Kyrie_01.krn"
    path.write_text("\n".join(["**kern", "*k[f#]", "*M4/2", *rows, "*-", ""]))
    mass = read_piece(candidate(tune=None, path=path, scale=Fraction(1, 2)))
    assert isinstance(mass, Piece)
    assert mass.parts[0][:2] == ((0.0, 1.0, 67), (1.0, 1.0, 71))
    assert (mass.bars, mass.bar_quarters) == (8, 4.0)


def test_parts_are_ordered_from_high_to_low(tmp_path: Path) -> None:
    rows = [f"={bar}\t={bar}\n2G\t2g\n2B\t2b\n2d\t2dd\n2B\t2b" for bar in range(1, 9)]
    path = tmp_path / "Kyrie_01.krn"
    path.write_text("\n".join(["**kern\t**kern", "*k[f#]\t*k[f#]", "*M4/2\t*M4/2", *rows, "*-\t*-", ""]))
    duo = read_piece(candidate(tune=None, path=path, scale=Fraction(1, 2)))
    assert isinstance(duo, Piece)
    assert [part[0][2] for part in duo.parts] == [67, 55]


@pytest.mark.parametrize(
    ("music", "changes", "reason"),
    [
        (BARS + ENDING, {"tonic": 2}, "key analysis disagrees"),
        (BARS + ENDING, {"mode": "minor"}, "key analysis disagrees"),
        (BARS, {}, "too short"),
        ("GABc d2|GABc d2|GABc d2|GABc d2|" + BARS, {}, "irregular bars"),
        ("z8|z8|z8|z8|z8|z8|", {}, "no notes"),
    ],
)
def test_scores_that_cannot_be_used_say_why(music: str, changes: dict[str, Any], reason: str) -> None:
    assert read_piece(candidate(music, **changes)) == reason


def test_a_broken_file_is_a_reason_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.mxl"
    path.write_bytes(b"PK\x03\x04 no archive")
    assert str(read_piece(candidate(tune=None, path=path))).startswith("music21 cannot read it")


def test_the_fingerprint_is_equal_in_another_key_and_different_for_another_tune() -> None:
    tune = piece(line((67, 69, 71)))
    assert tune_fingerprint(tune) == tune_fingerprint(piece(line((60, 62, 64))))
    assert tune_fingerprint(tune) != tune_fingerprint(piece(line((67, 69, 70))))


def named(name: str, mode: str = "major") -> Candidate:
    return candidate(name=name, mode=mode)


def test_quotas_are_filled_evenly_over_modes_and_what_was_in_vain_is_counted() -> None:
    candidates = [named(f"major {n}") for n in range(20)] + [named(f"minor {n}", "minor") for n in range(20)]
    asked = []

    def read_all(batch: Iterable[Candidate]) -> list[Piece | str]:
        asked.extend(batch)
        numbers = (int(one.name.split()[1]) for one in batch)
        return [
            "no notes" if number == 3 else piece(line((60, 60 + number)), name=one.name, mode=one.mode)
            for number, one in zip(numbers, batch, strict=True)
        ]

    dropped: Counter[str] = Counter()
    pieces = gather_pieces(candidates, {"fiddle tune": 10, "chorale": 5}, 0, read_all, dropped)
    assert len(pieces) == 10
    assert len(asked) == len(pieces) + dropped.total() < 40
    assert len({tune_fingerprint(one) for one in pieces}) == 10
    assert {4, 5, 6} >= {sum(one.mode == "minor" for one in pieces)}


def test_the_same_seed_gathers_the_same_pieces_and_another_seed_others() -> None:
    candidates = [named(f"tune {n}") for n in range(50)]

    def gather(seed: int) -> list[str]:
        def read_all(batch: Iterable[Candidate]) -> list[Piece | str]:
            return [piece(line((0, int(one.name.split()[1]))), name=one.name) for one in batch]

        return [one.name for one in gather_pieces(candidates, {"fiddle tune": 5}, seed, read_all, Counter())]

    assert gather(0) == gather(0) != gather(1)
