"""How long may a job take? SLURM's notation of time."""

import re

from music_flamingo.errors import UserError

DAYS_AND_HOURS = re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?")
MINUTES = re.compile(r"(?:(?P<hours>\d+):(?=\d+:))?(?P<minutes>\d+)(?::(?P<seconds>\d+))?")
SECONDS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}


def seconds_of(time: str) -> int:
    """Seconds of minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and so on.

    Raises:
        UserError: it is none of these.

    Source: sbatch(1), `--time`.
    """
    found = DAYS_AND_HOURS.fullmatch(time) or MINUTES.fullmatch(time)
    if found is None:
        raise UserError(f"--time: expected hours:minutes:seconds or days-hours:minutes:seconds, got {time!r}")
    return sum(SECONDS[name] * int(count) for name, count in found.groupdict(default="0").items())
