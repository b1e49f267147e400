import pytest

from music_flamingo.corpora.inspection.guarded_pool import Failure, GuardedPool

# Python's own `eval` does the work: a function of a test's module is not found in another process.
HANGS, DIES = "__import__('time').sleep(60)", "__import__('os')._exit(7)"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_job_that_hangs_or_dies_costs_itself_alone(num_workers: int) -> None:
    results = dict(GuardedPool(eval, num_workers, timeout=0.5).run(["1 + 1", HANGS, "2 + 2", DIES, "3 + 3", "4 + 4"]))
    assert results == {
        "1 + 1": 2,
        HANGS: Failure(is_timeout=True, detail="no result after 0.5 s"),
        "2 + 2": 4,
        DIES: Failure(is_timeout=False, detail="the process that read it ended with status 7"),
        "3 + 3": 6,
        "4 + 4": 8,
    }


def test_nothing_to_do_starts_no_process() -> None:
    assert list(GuardedPool(eval, 4, timeout=1.0).run([])) == []
