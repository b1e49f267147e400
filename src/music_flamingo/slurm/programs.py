"""SLURM's own programs, asked and answering in text."""

import shutil
import subprocess

from music_flamingo.errors import UserError


def require(program: str) -> None:
    """Refuse to go on without SLURM.

    Raises:
        UserError: the program is not there.
    """
    if shutil.which(program) is None:
        raise UserError(f"expected SLURM's {program} on PATH, found none: run this on a cluster's login node")


def ask(*command: str) -> str:
    """What a program prints.

    Raises:
        UserError: it is not there, or refuses.
    """
    require(command[0])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"{' '.join(command)}: {said or f'ended with status {done.returncode}'}")
    return done.stdout
