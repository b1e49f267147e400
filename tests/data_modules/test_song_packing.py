import pytest

from music_flamingo.data_modules.song_packing import RowLimits, SongCost, divide_over_ranks
from music_flamingo.errors import UserError


def costs(*flops: int) -> list[SongCost]:
    return [SongCost(tokens=cost, flops=cost) for cost in flops]


def test_the_costliest_song_goes_first_to_the_rank_with_least_to_do() -> None:
    assert divide_over_ranks(costs(3, 7, 3, 5, 4), 2, RowLimits()) == ([[1, 0], [3, 4, 2]], [])


def test_a_song_goes_to_a_rank_with_room_or_is_left() -> None:
    assert divide_over_ranks(costs(7, 5, 4, 3, 3), 2, RowLimits(max_tokens=10)) == ([[0, 3], [1, 2]], [4])
    assert divide_over_ranks(costs(7, 5, 4, 3, 3), 2, RowLimits(max_flops=9)) == ([[0], [1, 2]], [3, 4])


def test_fewer_songs_than_ranks_leave_ranks_without() -> None:
    assert divide_over_ranks(costs(2, 3), 3, RowLimits()) == ([[1], [0], []], [])


def test_limits_of_several_rows_are_as_many_times_as_high() -> None:
    limits = RowLimits(max_tokens=10, max_flops=100.0)
    assert limits.hold(SongCost(10, 100.0))
    assert not limits.hold(SongCost(11, 100.0))
    assert not limits.hold(SongCost(10, 101.0))
    assert limits.hold(SongCost(30, 300.0), rows=3)
    assert RowLimits().hold(SongCost(10**9, 1e30))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (RowLimits(max_tokens=10), r"cut a: expected at most 10 tokens \(data.max_tokens\).* got 12: raise data.max_t"),
        (RowLimits(max_flops=2e14), r"cut a: expected at most 2e\+14 FLOPs \(data.max_flops\).* got 3e\+14: raise"),
    ],
)
def test_a_song_too_large_for_any_row_is_named(limits: RowLimits, message: str) -> None:
    with pytest.raises(UserError, match=message):
        limits.require_room("a", SongCost(12, 3e14))
    RowLimits(max_tokens=12, max_flops=3e14).require_room("a", SongCost(12, 3e14))
