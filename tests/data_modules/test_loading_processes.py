import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from music_flamingo.data_modules.loading_processes import end_with_parent

FORKED = multiprocessing.get_context("fork")


def load(told: Connection) -> None:
    end_with_parent(0)
    told.send(os.getpid())
    time.sleep(60)


def train(told: Connection) -> None:
    FORKED.Process(target=load, args=(told,)).start()
    time.sleep(60)


def has_ended(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


@pytest.mark.parametrize("before", [[], [signal.SIGUSR1, signal.SIGTERM]])
@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_loading_process_ends_when_training_is_killed_and_not_before(before: list[signal.Signals]) -> None:
    hears, told = FORKED.Pipe(duplex=False)
    training = FORKED.Process(target=train, args=(told,))
    training.start()
    loading = hears.recv()
    for number in before:
        os.kill(loading, number)
    assert not has_ended(loading)
    training.kill()
    training.join()
    for _ in range(100):
        if has_ended(loading):
            return
        time.sleep(0.05)
    pytest.fail("the loading process is still there")
