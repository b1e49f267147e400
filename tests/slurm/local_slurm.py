"""A SLURM of one node, this machine, with everything it writes in one folder."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / "build" / "slurm" / "usr"
"""Where `make test-slurm` unpacks Debian's packages."""
LIBRARIES = UNPACKED / "lib" / "x86_64-linux-gnu"
PLUGINS = LIBRARIES / "slurm-wlm"
PATH = os.pathsep.join([str(UNPACKED / "bin"), str(UNPACKED / "sbin"), os.environ["PATH"], "/usr/sbin"])
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
JobRequeue=1
KillWait=10
OverTimeLimit=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def missing() -> list[str]:
    """Programs of SLURM that are not here."""
    return [name for name in NEEDED if shutil.which(name, path=PATH) is None]


class LocalSlurm:
    """munged, slurmctld and slurmd, as processes of this one, while a `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
        if UNPACKED.is_dir():
            self.environment["LD_LIBRARY_PATH"] = f"{LIBRARIES}:{PLUGINS}"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "LocalSlurm":
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        text = CONFIGURATION.format(
            host=socket.gethostname(),
            user=getpass.getuser(),
            folder=self.folder,
            controller_port=free_port(),
            node_port=free_port(),
        )
        text += f"PluginDir={PLUGINS}\n" if UNPACKED.is_dir() else ""
        (self.folder / "slurm.conf").write_text(text)
        # Containers have no control groups to give away, and nothing here needs them.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        files = {"key-file": key, **{f"{n}-file": self.folder / f"munge.{n}" for n in ("pid", "log", "seed")}}
        places = [f"--{name}={path}" for name, path in files.items()]
        try:
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *places)
            until((self.folder / "munge.socket").exists, "munged listens")
            self._start("slurmctld", "-D", "-c")
            stepd = ["-d", str(UNPACKED / "sbin" / "slurmstepd")] if UNPACKED.is_dir() else []
            self._start("slurmd", "-D", *stepd)
            until(
                lambda: self.ask("sinfo", "--noheader", "--format=%T", check=False).strip() == "idle", "the node idles"
            )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.ask("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}", check=False)
        self.ask("scancel", f"--user={getpass.getuser()}", check=False)
        try:
            until(lambda: not self.ask("squeue", "--noheader", check=False).strip(), "no job runs", seconds=15)
        finally:
            self._stop()

    def ask(self, *command: str, check: bool = True) -> str:
        """What a command prints, SLURM's or another that needs SLURM."""
        done = subprocess.run(command, check=False, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout

    def _start(self, program: str, *words: str) -> None:
        log = (self.folder / f"{program}.log").open("wb")
        command = [str(shutil.which(program, path=PATH)), *words]
        self._daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(20)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.05)
