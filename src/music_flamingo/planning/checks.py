"""What do facts about a machine mean for training on it? Facts in, diagnoses out; nothing is looked up here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Level = Literal["ok", "warning", "problem"]
MALWARE = {"lightning": ("2.6.2", "2.6.3")}
GIB = 1024**3
LEAST_FREE, ENOUGH_FREE = 1 * GIB, 20 * GIB
"""Bytes below which a run cannot keep its checkpoints: of a tiny model, and of an adapted large one."""
SLOW_FSYNC = 0.5
"""Seconds for a megabyte, above which checkpoints are waited for."""


@dataclass(frozen=True)
class Diagnosis:
    """One line of what the doctor says.

    Attributes:
        what: was looked at.
        level: how bad it is.
        found: what there is.
        remedy: what to do, where something is to be done.
    """

    what: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Gpus:
    """What torch and the driver say of accelerators.

    Attributes:
        built_for: CUDA version that torch was built for; None for a CPU build.
        names: of the devices that torch sees.
        memory: bytes of each.
        driver: its version as nvidia-smi tells; None where there is none.
        has_bfloat16: whether they multiply in bfloat16.
    """

    built_for: str | None = None
    names: Sequence[str] = ()
    memory: Sequence[int] = ()
    driver: str | None = None
    has_bfloat16: bool = True


def check_versions(installed: Mapping[str, str], required: Sequence[str]) -> Iterator[Diagnosis]:
    """Installed versions against what the package requires.

    Args:
        installed: name as PyPI normalises it -> version.
        required: such as `torch>=2.13`.
    """
    requirements = [each for each in map(Requirement, required) if each.marker is None or each.marker.evaluate()]
    wrong = 0
    for each in requirements:
        version = installed.get(canonicalize_name(each.name))
        if version is None:
            wrong += 1
            yield Diagnosis("versions", "problem", f"{each.name} is not installed", f"pip install '{each}'")
        elif version in MALWARE.get(canonicalize_name(each.name), ()):
            wrong += 1
            remedy = "remove it, renew every credential that this machine holds, then make setup"
            yield Diagnosis("versions", "problem", f"{each.name} {version} was malware on PyPI", remedy)
        elif not each.specifier.contains(version, prereleases=True):
            wrong += 1
            found = f"{each.name} {version}, expected {each.specifier}"
            yield Diagnosis("versions", "problem", found, f"pip install '{each}'")
    if not wrong:
        yield Diagnosis("versions", "ok", f"{len(requirements)} packages are as required")


def check_pins(installed: Mapping[str, str], constraints: str) -> Iterator[Diagnosis]:
    """Installed versions against those with which the tests pass, the text of constraints.txt."""
    pins = dict(line.split("==") for line in constraints.splitlines() if "==" in line and not line.startswith("#"))
    # A CPU build of torch is 2.13.0+cpu.
    others = [
        f"{name} {installed[name]} instead of {pin}"
        for name, pin in pins.items()
        if name in installed and installed[name].partition("+")[0] != pin
    ]
    if others:
        remedy = "make setup, or pip install with --constraint constraints.txt"
        yield Diagnosis("tested versions", "warning", ", ".join(others), remedy)
    else:
        yield Diagnosis("tested versions", "ok", "those that constraints.txt names")


def check_gpus(gpus: Gpus) -> Iterator[Diagnosis]:
    """Whether there are accelerators, and whether torch can use them."""
    if gpus.names:
        memory = " and ".join(sorted({f"{size / GIB:.0f} GiB" for size in gpus.memory}))
        names = " and ".join(sorted(set(gpus.names)))
        found = f"{len(gpus.names)} x {names}, {memory}, CUDA {gpus.built_for}, driver {gpus.driver or 'unknown'}"
        if not gpus.has_bfloat16:
            yield Diagnosis("GPU", "warning", f"{found}, without bfloat16", "train with trainer.precision: 32-true")
        else:
            yield Diagnosis("GPU", "ok", found)
    elif gpus.driver is None:
        yield Diagnosis("GPU", "ok", "none: training runs on the CPU")
    elif gpus.built_for is None:
        remedy = "make setup without TORCH_INDEX, which took torch's CPU build"
        yield Diagnosis("GPU", "problem", f"driver {gpus.driver}, but torch is built without CUDA", remedy)
    else:
        remedy = f"update the driver to one for CUDA {gpus.built_for}, or look at CUDA_VISIBLE_DEVICES"
        yield Diagnosis("GPU", "problem", f"driver {gpus.driver}, but torch sees no device", remedy)


def check_flash_attention(gpus: Gpus, version: str | None) -> Iterator[Diagnosis]:
    """Which attention a GPU will run; `version` is flash-attn's, None where it is not installed."""
    if not gpus.names:
        yield Diagnosis("flash attention", "ok", "torch's, for the CPU")
    elif version is None:
        yield Diagnosis("flash attention", "ok", "torch's, for CUDA; flash-attn is not installed and not needed")
    elif not version.startswith("2.8"):
        remedy = "pip install 'flash-attn==2.8.*', or remove it: torch's kernels serve too"
        yield Diagnosis("flash attention", "problem", f"flash-attn {version}, expected 2.8", remedy)
    else:
        yield Diagnosis("flash attention", "ok", f"flash-attn {version}")


def check_collectives(gpus: Gpus, gloo_error: str | None, *, has_nccl: bool) -> Iterator[Diagnosis]:
    """Whether processes can talk to one another; `gloo_error` is what a first try with gloo ended in, if it did."""
    if gloo_error is not None:
        remedy = "name an interface that is up in GLOO_SOCKET_IFNAME, or unset it, and see that the host name resolves"
        yield Diagnosis("gloo", "problem", gloo_error, remedy)
    else:
        yield Diagnosis("gloo", "ok", "a process group of one works")
    if gpus.names and not has_nccl:
        level: Level = "problem" if len(gpus.names) > 1 else "warning"
        yield Diagnosis("NCCL", level, "torch is built without it", "make setup with PyPI's torch")
    elif gpus.names:
        yield Diagnosis("NCCL", "ok", "torch has it")


def check_disk(folder: str, free: int, write_error: str | None) -> Iterator[Diagnosis]:
    """Whether a run's folder can be written, and for how long."""
    if write_error is not None:
        remedy = "give another trainer.default_root_dir (run.root of the recipes), or the right to write there"
        yield Diagnosis("run folder", "problem", f"{folder}: {write_error}", remedy)
        return
    room = f"{folder}: {free / GIB:,.1f} GiB free"
    if free < LEAST_FREE:
        yield Diagnosis("run folder", "problem", room, "free some: a checkpoint is twice there while it is replaced")
    elif free < ENOUGH_FREE:
        remedy = "enough for small models; one of eight billion parameters keeps 12 bytes of each that is trained"
        yield Diagnosis("run folder", "warning", room, remedy)
    else:
        yield Diagnosis("run folder", "ok", room)


def check_fsync(seconds: float | None) -> Iterator[Diagnosis]:
    """How long a megabyte takes to be on disk for sure; None where it could not be written."""
    if seconds is None:
        return
    found = f"{1000 * seconds:.0f} ms for a megabyte"
    if seconds > SLOW_FSYNC:
        remedy = "every checkpoint waits for it: use a faster disk, or checkpoints farther apart"
        yield Diagnosis("fsync", "warning", found, remedy)
    else:
        yield Diagnosis("fsync", "ok", found)


def check_corpus(corpus: str, songs: int, findings: Sequence[tuple[str, str]]) -> Iterator[Diagnosis]:
    """What a look at a corpus' first songs gave.

    Args:
        corpus: its folder.
        songs: looked at.
        findings: severity and what was found, of each.
    """
    errors = [text for severity, text in findings if severity == "error"]
    remedy = f"music-flamingo data check {corpus} looks at all of it"
    if errors:
        yield Diagnosis("corpus", "problem", f"{len(errors)} errors, the first: {errors[0]}", remedy)
    elif not songs:
        yield Diagnosis("corpus", "problem", f"{corpus}: no songs", "make it again, or give another corpus")
    elif findings:
        yield Diagnosis("corpus", "warning", f"{len(findings)} warnings, the first: {findings[0][1]}", remedy)
    else:
        yield Diagnosis("corpus", "ok", f"{corpus}: nothing wrong with the first {songs} songs")


def check_checkpoints(folder: str, whole: Mapping[str, bool]) -> Iterator[Diagnosis]:
    """Checkpoints of a run, newest first, and whether each is whole."""
    if not whole:
        yield Diagnosis("checkpoints", "ok", f"{folder}: none yet")
        return
    damaged = [name for name, is_whole in whole.items() if not is_whole]
    if len(damaged) == len(whole):
        yield Diagnosis("checkpoints", "problem", f"{folder}: all damaged: {', '.join(damaged)}", "fit with --fresh")
    elif damaged:
        remedy = "remove them; a fit goes on from the newest that is whole"
        yield Diagnosis("checkpoints", "warning", f"{folder}: damaged: {', '.join(damaged)}", remedy)
    else:
        yield Diagnosis("checkpoints", "ok", f"{folder}: {len(whole)}, all whole")
