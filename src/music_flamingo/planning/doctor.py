"""`music-flamingo doctor`: is this machine ready to train, and are a run's folder or a corpus in order?"""

import importlib
import shutil
from collections.abc import Iterator
from importlib.metadata import distributions, requires
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from music_flamingo.errors import ErrorsFoundError
from music_flamingo.planning import checks
from music_flamingo.planning.checks import Diagnosis
from music_flamingo.write_access import existing, write_error

CONSTRAINTS = "constraints.txt"


def doctor_command(place: Path | None = None) -> None:
    """Check this machine: versions, GPU, attention, collectives, disk. Exit status 1 where there is a problem.

    Args:
        place: a run's folder, to be written and with whole checkpoints; or a corpus, whose first songs are read.

    Raises:
        ErrorsFoundError: there is a problem.
    """
    diagnoses = []
    for each in examine(place):
        diagnoses.append(each)
        print(told(each), flush=True)
    problems = [each for each in diagnoses if each.level == "problem"]
    if problems:
        what = ", ".join(dict.fromkeys(each.what for each in problems))
        raise ErrorsFoundError(f"expected a machine that is ready, found problems with {what}: see the lines above")


def told(diagnosis: Diagnosis) -> str:
    """The line."""
    remedy = f"; {diagnosis.remedy}" if diagnosis.remedy else ""
    return f"{diagnosis.level:<8} {diagnosis.what:<16} {diagnosis.found}{remedy}"


def examine(place: Path | None) -> Iterator[Diagnosis]:
    """Look at everything, and at a run's folder or a corpus; where a package is missing, at nothing else."""
    installed = {str(canonicalize_name(each.name)): each.version for each in distributions()}
    required = [line for line in requires("music-flamingo") or [] if "extra ==" not in line]
    versions = list(checks.check_versions(installed, required))
    yield from versions
    if any("not installed" in each.found for each in versions):
        return
    if Path(CONSTRAINTS).is_file():
        yield from checks.check_pins(installed, Path(CONSTRAINTS).read_text(encoding="utf-8"))
    yield from _machine(place)


def _machine(place: Path | None) -> Iterator[Diagnosis]:
    # Only now that all packages are known to be there: a missing one is a diagnosis, not a traceback.
    machine: Any = importlib.import_module("music_flamingo.planning.machine")
    gpus = machine.gpus_here()
    yield from checks.check_gpus(gpus)
    yield from checks.check_flash_attention(gpus, machine.version_of("flash-attn"))
    yield from checks.check_collectives(gpus, machine.gloo_error(), has_nccl=machine.has_nccl())
    corpus = place if place is not None and machine.is_corpus(place) else None
    folder = Path() if place is None or corpus is not None else place
    nearest, error = existing(folder), write_error(folder)
    yield from checks.check_disk(str(folder), shutil.disk_usage(nearest).free, error)
    yield from checks.check_fsync(None if error else machine.fsync_seconds(nearest))
    if corpus is not None:
        yield from checks.check_corpus(str(corpus), *machine.look_at_corpus(corpus))
    elif place is not None:
        yield from checks.check_checkpoints(str(place), machine.checkpoints(place))
