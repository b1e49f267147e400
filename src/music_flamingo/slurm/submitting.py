"""`music-flamingo slurm`: a fit as a job of a SLURM cluster, or several as one array of jobs."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from music_flamingo.errors import UserError
from music_flamingo.invocation import Invocation, parse_invocation
from music_flamingo.recipe import Recipe, read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.slurm.job_script import Job, Resources, script
from music_flamingo.slurm.programs import ask, require
from music_flamingo.whole_files import write_text

KEEPS, ENDS = "RollingCheckpoint", "Preemption"
FOLDER, SCRIPT = "slurm", "train.sbatch"


def slurm_command(  # noqa: PLR0913 - one option each
    fit: Sequence[str],
    *,
    devices_per_node: int,
    nodes: int = 1,
    cpus_per_device: int = 8,
    time: str = "24:00:00",
    warn_seconds: int = 300,
    partition: str = "",
    account: str = "",
    sbatch: Sequence[str] = (),
    seeds: Sequence[int] = (),
    variants: Sequence[Path] = (),
    show: bool = False,
) -> None:
    """Train a recipe on a SLURM cluster, given as for `fit`: --config FILE, --key value.

    Writes the job's script into the folder `slurm` of the run's, shows and submits it. The job ends with a checkpoint
    before its time is up or where another takes its place, and goes on from there.

    Args:
        fit: recipe files and settings.
        devices_per_node: GPUs, and processes, on each machine.
        nodes: machines.
        cpus_per_device: cores for each process.
        time: limit of one start, days-hours:minutes:seconds.
        warn_seconds: how long before the limit a checkpoint is begun: two steps, a validation and the writing.
        partition: which of the cluster's partitions.
        account: whose account.
        sbatch: further options of sbatch, such as qos=high exclusive.
        seeds: one run for each, in an array of jobs.
        variants: recipe files, one run with each laid over the recipe, in an array of jobs; times the seeds.
        show: write and show the script, and submit nothing.
    """
    invocation = parse_invocation(fit)
    _refuse_what_cannot_be_repeated(invocation)
    recipe = _checked(invocation)
    gpus = _trainer(recipe).get("accelerator") != "cpu"
    given = {"partition": partition, "account": account}
    more = [*(f"{name}={value}" for name, value in given.items() if value), *sbatch]
    resources = Resources(nodes, devices_per_node, cpus_per_device, time, warn_seconds, gpus, more)
    job = _job(invocation, recipe, resources, _array(fit, recipe, variants, seeds))
    if not show:
        require("sbatch")
    path = _write(_folder(recipe) / FOLDER / SCRIPT, script(job))
    print(f"{path.read_text()}\n{path}", flush=True)
    if not show:
        print(ask("sbatch", str(path)).strip())


def _job(invocation: Invocation, recipe: Recipe, resources: Resources, tasks: Sequence[Sequence[str]]) -> Job:
    folder = _folder(recipe)
    return Job(
        name=folder.name,
        log=_log(folder / FOLDER, "%A_%a.log" if tasks else "%j.log"),
        directory=Path.cwd(),
        command=_command(invocation, recipe, resources),
        tasks=tasks,
        resources=resources,
    )


def _array(fit: Sequence[str], recipe: Recipe, variants: Sequence[Path], seeds: Sequence[int]) -> list[list[str]]:
    """What each task of an array adds to the command; nothing for a single job."""
    tasks = [task_words(recipe, variant, seed) for variant, seed in _runs(variants, seeds)]
    _refuse_shared_folders([_checked(parse_invocation([*fit, *words])) for words in tasks], seeds)
    return tasks


def task_words(recipe: Recipe, variant: Path | None, seed: int | None) -> list[str]:
    """What tells one run of an array from the others: a name, a recipe laid over, a seed.

    Raises:
        UserError: the recipe's runs have no name.
    """
    name = (recipe.resolved().get("run") or {}).get("name")
    if name is None:
        raise UserError("--seeds and --variants: expected a recipe with run.name, to name each run, got none: add one")
    marks = [] if variant is None else [variant.stem]
    marks += [] if seed is None else [f"seed{seed}"]
    words = [] if variant is None else ["--config", str(variant)]
    words += [] if seed is None else [f"--run.seed={seed}"]
    return [*words, f"--run.name={'-'.join([str(name), *marks])}"]


def _runs(variants: Sequence[Path], seeds: Sequence[int]) -> Iterator[tuple[Path | None, int | None]]:
    several: list[Path | None] = [*variants]
    drawn: list[int | None] = [*seeds]
    if several or drawn:
        yield from itertools.product(several or [None], drawn or [None])


def _refuse_shared_folders(recipes: Sequence[Recipe], seeds: Sequence[int]) -> None:
    folders = [_folder(recipe) for recipe in recipes]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise UserError(
            f"--seeds and --variants: expected a folder for each run, got {twice} twice: let trainer.default_root_dir "
            "follow ${run.name}, and give no seed and no file name twice"
        )
    for recipe, seed in zip(recipes, itertools.cycle(seeds), strict=False):
        taken = recipe.settings().get("seed_everything")
        if taken != seed:
            raise UserError(f"--seeds: expected seed_everything to follow ${{run.seed}}, got {taken}: write it so")


def _refuse_what_cannot_be_repeated(invocation: Invocation) -> None:
    given = {"fresh": invocation.fresh, "profile": invocation.profile, "print_config": invocation.print_config}
    keys = {override.key for override in invocation.overrides}
    flag = next((name for name in ("ckpt_path", *given) if name in keys or given.get(name)), None)
    if flag is not None:
        raise UserError(f"--{flag}: a job that is started again would begin there again: leave it out")
    own = next((key for key in ("trainer.devices", "trainer.num_nodes") if key in keys), None)
    if own is not None:
        raise UserError(f"--{own}: the job has --nodes times --devices-per-node: leave it out")


def _checked(invocation: Invocation) -> Recipe:
    """The recipe, which goes on where it ended."""
    recipe = read_recipe(invocation.configs, invocation.overrides)
    check_recipe(recipe, "fit", ALLOWED_PACKAGES)
    if KEEPS not in _callbacks(recipe):
        raise UserError(
            f"{recipe.origin(('trainer', 'callbacks'))}: expected {KEEPS} among trainer.callbacks, got none, and a job "
            f"that has to end would lose its work: add --trainer.callbacks+=music_flamingo.callbacks.{KEEPS}"
        )
    return recipe


def _command(invocation: Invocation, recipe: Recipe, resources: Resources) -> list[str]:
    program = Path(sys.executable).with_name("music-flamingo")
    flags = ["--test"] if invocation.test else []
    size = [f"--trainer.num_nodes={resources.nodes}", f"--trainer.devices={resources.devices_per_node}"]
    ending = [] if ENDS in _callbacks(recipe) else [f"--trainer.callbacks+=music_flamingo.callbacks.{ENDS}"]
    return [str(program), "fit", *flags, *invocation.words(), *size, *ending]


def _log(folder: Path, name: str) -> str:
    text = str(folder.absolute())
    if "\\" in text or "\n" in text:
        raise UserError(f"{folder}: SLURM takes no backslash and no line break in a log's path: give another folder")
    return f"{text.replace('%', '%%')}/{name}"


def _write(path: Path, text: str) -> Path:
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(
            f"{path}: expected to write the job's script, got {error.strerror}: make the run's folder one you may "
            "write, or give another trainer.default_root_dir"
        ) from error
    return path


def _trainer(recipe: Recipe) -> dict[str, Any]:
    return dict(recipe.settings().get("trainer") or {})


def _folder(recipe: Recipe) -> Path:
    return Path(_trainer(recipe)["default_root_dir"])


def _callbacks(recipe: Recipe) -> set[str]:
    """The names of the classes that watch the fit."""
    entries = _trainer(recipe).get("callbacks") or []
    paths = [entry["class_path"] if isinstance(entry, dict) else str(entry) for entry in entries]
    return {path.rpartition(".")[2] for path in paths}
