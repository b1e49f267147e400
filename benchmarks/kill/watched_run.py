"""The command that is killed: `music-flamingo`, saying on a pipe where it is."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

import torch

from music_flamingo import cli, trainer_cli  # noqa: F401  imported once, by the fork server
from music_flamingo.data_modules import ConversationDataModule  # noqa: F401  likewise
from music_flamingo.stages import GRPOModule, SFTModule
from music_flamingo.strategies import checkpoint_io

START_METHOD = "fork"
TALKING = threading.Lock()


def watched_run(words: Sequence[str], events: Connection, log: str, environment: Mapping[str, str]) -> None:
    """Run the command, and leave with its exit status; `environment` says which of several ranks it is."""
    os.environ.update(environment)
    # As in a process that a person starts; one of a fork server would start its loading processes by another.
    multiprocessing.set_start_method(START_METHOD, force=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    checkpoint_io._write = _told(checkpoint_io._write, "checkpoint", events)
    for stage in (SFTModule, GRPOModule):
        stage.validation_step = _told(stage.validation_step, "validation", events)
    GRPOModule._rollout = _told(GRPOModule._rollout, "rollout", events)
    events.send("+anywhere")
    status = cli.main(words)
    sys.stdout.flush()
    os._exit(status)


def _told(function: Callable[..., Any], place: str, events: Connection) -> Callable[..., Any]:
    def tell(what: str) -> None:
        with TALKING:  # checkpoints are written by a thread
            events.send(what)

    @wraps(function)
    def telling(*args: Any, **kwargs: Any) -> Any:
        tell(f"+{place}")
        try:
            return function(*args, **kwargs)
        finally:
            tell(f"-{place}")

    return telling
