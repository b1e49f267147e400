from typing import Any

import pytest

from music_flamingo.corpora.songbook.leaks import SYNONYMOUS, format_leaks, leak_table
from music_flamingo.corpora.songbook.wording import WORDINGS

from .truths import duet, solo


def _rows(*truths: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"truth": truth, "piece": f"piece{index}"} for index, truth in enumerate(truths)]


def _row(table: list[dict[str, Any]], question: str) -> dict[str, Any]:
    return next(row for row in table if row["question"] == question)


def _meter_from_drums(num_exceptions: int) -> list[dict[str, Any]]:
    """Ten cuts: drums mean 4/4 and no drums 3/4, but for some exceptions."""
    truths = [duet(drums=index % 2 == 0, meter="4/4" if index % 2 == 0 else "3/4") for index in range(10)]
    for truth in truths[:num_exceptions]:
        truth["meter"] = "6/8"
    return _rows(*truths)


def test_an_attribute_that_determines_another_is_found() -> None:
    row = _row(leak_table(_meter_from_drums(0), _meter_from_drums(0)), "meter")
    assert row == {
        "question": "meter", "n": 10, "pieces": 10, "classes": 2, "majority": 0.5,
        "best_attribute": "drums", "best_accuracy": 1.0,
    }  # fmt: skip


def test_guesses_are_learned_on_train_and_scored_on_test() -> None:
    row = _row(leak_table(_meter_from_drums(0), _meter_from_drums(3)), "meter")
    assert row["best_accuracy"] == pytest.approx(0.7)
    assert row["majority"] == pytest.approx(0.4)
    assert row["classes"] == 3


def test_an_unseen_value_falls_back_on_the_most_frequent_answer() -> None:
    train = _rows(duet(meter="4/4"), duet(meter="4/4"), duet(meter="3/4"))
    test = _rows(duet(meter="4/4", drums=False), duet(meter="4/4", drums=False))
    assert _row(leak_table(train, test), "meter")["best_accuracy"] == 1.0


def test_an_absent_answer_can_give_something_away() -> None:
    rows = _rows(solo(meter="3/4"), duet(meter="4/4"), solo(meter="3/4"), duet(meter="4/4"))
    same = {"drums": True, "bpm": 100, "tempo": "moderate", "tonic": "C", "mode": "major", "change": "none"}
    for row in rows:
        row["truth"] |= {**same, "texture": None, "chord": None, "dance": None, "change_time": None}
        row["truth"] |= {"instruments": ["flute"]}
        row["truth"]["entries"][0]["instrument"] = "flute"
    row = _row(leak_table(rows, rows), "meter")
    assert (row["best_accuracy"], row["best_attribute"]) == (1.0, "entry_time")


def test_synonyms_are_no_leaks() -> None:
    rows = _rows(*[duet(bpm=bpm, tempo=tempo) for bpm, tempo in ((72, "slow"), (100, "moderate"), (150, "fast"))])
    row = _row(leak_table(rows, rows), "tempo")
    assert row["best_attribute"] != "bpm"
    assert row["best_accuracy"] == pytest.approx(1 / 3)


def test_every_synonym_names_two_questions_and_a_reason() -> None:
    assert all(pair <= WORDINGS.keys() and len(pair) == 2 and reason for pair, reason in SYNONYMOUS.items())


def test_bpm_is_binned_as_a_question() -> None:
    rows = _rows(duet(bpm=120), duet(bpm=121), duet(bpm=160))
    assert _row(leak_table(rows, rows), "bpm")["classes"] == 2


def test_pieces_are_counted_once() -> None:
    rows = [{"truth": duet(), "piece": "same"}, {"truth": duet(), "piece": "same"}]
    assert _row(leak_table(rows, rows), "meter")["pieces"] == 1


def test_table_as_text() -> None:
    table = leak_table(_meter_from_drums(0), _meter_from_drums(0))
    lines = format_leaks(table).splitlines()
    assert lines[0] == "question              n pieces classes majority  best  from"
    assert "meter                10     10       2     0.50  1.00  drums" in lines
    assert len(lines) == len(table) + 1
