import pytest

from music_flamingo.errors import UserError
from music_flamingo.slurm.time_limit import seconds_of


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("24:00:00", 86_400),
        ("0:00:05", 5),
        ("2-12", 216_000),
        ("1-00:30", 88_200),
        ("1-01:01:01", 90_061),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds


@pytest.mark.parametrize("time", ["", "a day", "1:2:3:4", "1-", "24h", "-5"])
def test_another_notation_is_refused(time: str) -> None:
    with pytest.raises(UserError, match="--time: expected hours:minutes:seconds"):
        seconds_of(time)
