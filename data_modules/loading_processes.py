"""Loading processes that end when training is killed.

torch's notice that their parent is gone, but then wait to hand over rows that nobody takes, and stay with all their
memory.
"""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(worker: int) -> None:
    """To be called in a loading process as it begins: on Linux it is killed when the training process dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
