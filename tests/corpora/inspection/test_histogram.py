import pytest

from music_flamingo.corpora.inspection.histogram import histogram, most_frequent, round_width, summary


def test_a_summary_by_hand() -> None:
    assert summary([4, 1, 3, 2]) == {"n": 4, "sum": 10, "min": 1, "median": 3, "p95": 4, "max": 4}
    assert summary(list(range(1, 101)))["p95"] == 95
    assert summary([]) == {"n": 0}


def test_bins_are_round_and_hold_every_value() -> None:
    assert histogram([0, 1, 9, 10, 29], most_bins=4) == [
        {"from": 0, "to": 10, "count": 3},
        {"from": 10, "to": 20, "count": 1},
        {"from": 20, "to": 30, "count": 1},
    ]
    assert histogram([]) == []
    assert histogram([7.5]) == [{"from": 7, "to": 8, "count": 1}]


@pytest.mark.parametrize(("width", "expected"), [(0.3, 1), (1.1, 2), (2.2, 2.5), (24, 25), (26, 50), (1000, 1000)])
def test_widths_are_round(width: float, expected: float) -> None:
    assert round_width(width) == expected


def test_what_does_not_fit_is_one_sum() -> None:
    assert most_frequent({"a": 1, "b": 5, "c": 2, "d": 1}, most=3) == {"b": 5, "c": 2, "others": 2}
    assert most_frequent({"a": 1, "b": 5}) == {"b": 5, "a": 1}
