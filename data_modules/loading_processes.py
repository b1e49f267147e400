"""Loading processes that end when training is killed, and not before.

torch's notice that their parent is gone, but then wait to hand over rows that nobody takes, and stay with all their
memory. And they die of SIGUSR1 and SIGTERM, which SLURM sends to every process of a job: the step that training was to
end, see `callbacks.Preemption`, ends with them.
"""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(worker: int) -> None:
    """To be called in a loading process as it begins: on Linux it is killed when the training process dies.

    Other signals that end a job are then left to that one.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
