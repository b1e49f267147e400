import pytest

from music_flamingo.callbacks.time_table import TimeRow, time_table
from music_flamingo.step_parts import Range

STEPS = [Range("step", 0, 10), Range("step", 10, 30)]
# Two steps of 10 and 20 s. The second has two updates, and loads nothing.
PARTS = [
    Range("load row", 0, 1),
    Range("model", 2, 3),
    Range("backward", 3, 7),
    Range("update", 1.5, 8),
    Range("model", 10, 12),
    Range("backward", 12, 16),
    Range("update", 10, 18),
    Range("backward", 19, 22),
    Range("update", 18, 25),
]


def rows(*lines: tuple[str, int, float, float, float | None]) -> list[TimeRow]:
    return [TimeRow(*line) for line in lines]


def test_parts_are_shared_out_as_they_are_nested() -> None:
    assert time_table(STEPS, PARTS) == rows(
        ("load row", 0, 1 / 2, 1 / 30, 0.5),
        ("update", 0, 21.5 / 2, 21.5 / 30, 1.5),
        ("model", 1, 3 / 2, 3 / 30, 1.0),
        ("backward", 1, 11 / 2, 11 / 30, 1.5),
        ("other", 1, 7.5 / 2, 7.5 / 30, None),
        ("other", 0, 7.5 / 2, 7.5 / 30, None),
    )


def test_the_lines_below_a_part_add_up_to_it_and_the_outermost_to_a_step() -> None:
    table = time_table(STEPS, PARTS)
    seconds = {row.name: row.seconds for row in table if row.depth == 0}
    assert sum(seconds.values()) == pytest.approx(15)
    assert sum(row.seconds for row in table if row.depth == 1) == pytest.approx(seconds["update"])
    assert sum(row.share for row in table if row.depth == 0) == pytest.approx(1)


def test_order_in_which_parts_ended_does_not_matter() -> None:
    assert time_table(STEPS, PARTS[::-1]) == time_table(STEPS, PARTS)


def test_one_name_in_two_places_is_two_lines() -> None:
    parts = [Range("a", 0, 4), Range("model", 1, 2), Range("b", 5, 9), Range("model", 6, 9)]
    table = time_table([Range("step", 0, 10)], parts)
    assert [(row.name, row.depth, row.seconds) for row in table] == [
        ("a", 0, 4),
        ("model", 1, 1),
        ("other", 1, 3),
        ("b", 0, 4),
        ("model", 1, 3),
        ("other", 1, 1),
        ("other", 0, 2),
    ]


def test_parts_three_deep_are_taken_from_their_own_parent_only() -> None:
    parts = [Range("rollout", 0, 8), Range("decode", 1, 7), Range("model", 2, 4), Range("model", 4, 6)]
    table = time_table([Range("step", 0, 8)], parts)
    assert [(row.name, row.depth, row.seconds, row.calls) for row in table] == [
        ("rollout", 0, 8, 1),
        ("decode", 1, 6, 1),
        ("model", 2, 4, 2),
        ("other", 2, 2, None),
        ("other", 1, 2, None),
        ("other", 0, 0, None),
    ]


def test_what_began_outside_of_the_steps_is_left_out() -> None:
    parts = [Range("before", 0, 4), Range("inside", 5, 6), Range("after", 15, 16)]
    table = time_table([Range("step", 5, 15)], parts)
    assert [(row.name, row.seconds) for row in table] == [("inside", 1), ("other", 9)]


def test_a_step_without_parts_has_no_lines() -> None:
    assert time_table(STEPS, []) == []
