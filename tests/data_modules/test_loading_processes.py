import multiprocessing
import os
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


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_loading_process_ends_when_training_is_killed() -> None:
    hears, told = FORKED.Pipe(duplex=False)
    training = FORKED.Process(target=train, args=(told,))
    training.start()
    loading = hears.recv()
    training.kill()
    training.join()
    for _ in range(100):
        status = Path(f"/proc/{loading}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the loading process is still there")
