"""`fit`, `validate`, `test` and `predict`: Lightning's command line over a merged recipe.

Differs from plain LightningCLI in five things. Recipes are merged and their references resolved first,
across files; every key is checked with the file it came from; the recipe as written is kept in the run's
folder as `recipe.yaml`, and what the fit took as `stage.json`; a checkpoint gives weights, never settings,
so that what runs is what the recipe says; and checkpoints load with `weights_only`, as other files could
run code.
"""

import inspect
import json
import logging
import resource
import shlex
import sys
import time
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.model_helpers import is_overridden

from music_flamingo.callbacks.step_seeds import StepSeeds
from music_flamingo.errors import UserError
from music_flamingo.invocation import Invocation, parse_invocation
from music_flamingo.own_complaints import heard, let_classes_complain
from music_flamingo.parse_errors import failed_key, failed_value, one_line
from music_flamingo.recipe import Recipe, read_recipe
from music_flamingo.recipe_check import check_recipe
from music_flamingo.recipe_defaults import with_own_defaults
from music_flamingo.recipe_keys import ALLOWED_PACKAGES
from music_flamingo.recipe_tree import CLASS_KEYS, Key, merge, show_key, walk
from music_flamingo.run_resume import RECIPE, RECORD, begin_anew, run_folder, with_checkpoint
from music_flamingo.step_parts import ProfileFinished
from music_flamingo.strategies.checkpoint_io import FolderCheckpointIO
from music_flamingo.whole_files import write_text
from music_flamingo.write_access import require_writable

DESCRIPTION = """{summary}

Recipes are given with --config (several are laid over one another in order) and single settings with
--key value, for example --trainer.max_steps 5 or --model.optimizer.lr 1e-4. The blocks `run` and `vars`
hold values for ${{...}} references. `fit --test` tests the model as soon as it is trained. `fit --profile`
shows where a step's time goes: it trains three steps, measures five, records two and ends there, with a table
of their parts and a trace, in the folder `profile` of the run's. It makes no checkpoint and no export.
A fit that was interrupted goes on from its newest checkpoint when its command is given again; `fit --fresh`
begins anew.
"""
MIB = 1024 * 1024


class RecipeCLI(LightningCLI):
    """LightningCLI that takes its settings from a `Recipe` and leaves a record of a finished fit.

    Args:
        verb: fit, validate, test or predict.
        recipe: the merged recipe; its settings must have passed `check_keys`.
        invocation: how it was asked for.
    """

    def __init__(self, verb: str, recipe: Recipe, invocation: Invocation) -> None:
        self.recipe = recipe
        self.invocation = invocation
        self.started_seconds = time.monotonic()
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, verb: {"exit_on_error": False}},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args={"subcommand": verb, verb: {"weights_only": True} | with_own_defaults(recipe.settings())},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Check the values against their types; with --print_config, show them all and stop."""
        self.config = parser.parse_object(args)
        if self.invocation.print_config:
            verb = self.config["subcommand"]
            sys.stdout.write(self._parser(verb).dump(self.config[verb], skip_unset=False))
            sys.exit(0)

    def _parse_ckpt_path(self) -> None:
        """Leave the settings alone: Lightning would overwrite them with those stored in the checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Have every class built so that its own complaint is the one that is heard."""
        let_classes_complain(self.parser)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer.

        Raises:
            UserError: settings that each have the right type but do not go together, or name nothing known.
        """
        try:
            trainer: Any = super().instantiate_trainer(**kwargs)  # Lightning does not declare its attributes
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"{self.recipe.origin(('trainer',))}: trainer: {error}") from error
        seed = self.recipe.settings().get("seed_everything")
        trainer.callbacks = [RunRecord(self.recipe), StepSeeds(seed if type(seed) is int else 0), *trainer.callbacks]
        if isinstance(trainer.strategy.checkpoint_io, TorchCheckpointIO):
            trainer.strategy.checkpoint_io = FolderCheckpointIO()
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            # It would write a checkpoint of its own kind; the callback Preemption does.
            environment.auto_requeue = False
        if self.invocation.profile:
            # An epoch may end among the profiled steps.
            trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, Checkpoint)]
        return cast(Trainer, trainer)

    def before_fit(self) -> None:
        """Say where the fit goes on, if it does."""
        checkpoint = self._get(self.config, "ckpt_path")
        if checkpoint is not None and self.trainer.is_global_zero:
            print(f"{self.name}: going on from {checkpoint}", flush=True)

    def after_fit(self) -> None:
        """Record what the fit took, say where its output is, and test if that was asked for."""
        if self.trainer.is_global_zero:
            record = {"name": self.name, "seconds": round(self._seconds(), 1), "peak_rss_mib": peak_rss_mib()}
            write_text(self.folder / RECORD, json.dumps(record, indent=2) + "\n")
            self._say("fit")
            if is_overridden("test_step", self.model) and not self.invocation.test:
                print(f"  next: music-flamingo test {self.invocation.repeat()} --ckpt_path last")
            print(f"  curves: tensorboard --logdir {shlex.quote(str(self.folder))}", flush=True)
        if self.invocation.test:
            self.trainer.test(self.model, datamodule=self.datamodule)
            self.after_test()

    def after_validate(self) -> None:
        """Say what it took."""
        self._say("validate")

    def after_test(self) -> None:
        """Say what it took and where to look."""
        self._say("test")

    def after_predict(self) -> None:
        """Say what it took and where to look."""
        self._say("predict")

    @property
    def folder(self) -> Path:
        """Where the run leaves everything."""
        return Path(self.trainer.default_root_dir)

    @property
    def name(self) -> str:
        """`run.name` of the recipe, or the run folder's name."""
        run = self.recipe.resolved().get("run") or {}
        return str(run.get("name", self.folder.name))

    def _seconds(self) -> float:
        return time.monotonic() - self.started_seconds

    def _say(self, verb: str) -> None:
        if self.trainer.is_global_zero:
            print(f"{self.name}: {verb} took {self._seconds():.0f} s, output in {self.folder}", flush=True)


class RunRecord(Callback):
    """Keeps the recipe as written beside what it is about to make.

    A fit that begins takes away what an earlier one left to be resumed from. All ranks have decided by then whether to
    begin.

    Args:
        recipe: as written.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if not trainer.is_global_zero:
            return
        if self.recipe.settings().get("ckpt_path") is None:  # the trainer's own may be set later
            begin_anew(folder)
        (folder / RECORD).unlink(missing_ok=True)
        write_text(folder / RECIPE, self.recipe.to_yaml())


class _HelpCLI(LightningCLI):
    """LightningCLI that is asked for help and nothing else."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Print the help asked for, which ends the process."""
        self.config = parser.parse_args(cast(list[str], args))


def run_verb(verb: str, arguments: Sequence[str], allowed: Sequence[str] = ALLOWED_PACKAGES) -> None:
    """Run one of Lightning's verbs from command-line arguments.

    Args:
        verb: fit, validate, test or predict.
        arguments: what follows the verb.
        allowed: packages whose classes a recipe may name.

    Raises:
        UserError: a file, a key or a value does not fit.
    """
    if any(word in ("-h", "--help") or word.partition("=")[0].endswith(".help") for word in arguments):
        show_help(verb, arguments)
        return
    invocation = parse_invocation(arguments)
    _refuse_misplaced_flags(verb, invocation)
    recipe = read_recipe(invocation.configs, invocation.overrides)
    check_recipe(recipe, verb, allowed)
    if not invocation.print_config:
        require_writable(run_folder(recipe), "trainer.default_root_dir")
    recipe = for_profiling(recipe) if invocation.profile else recipe
    recipe = with_checkpoint(recipe, verb, fresh=invocation.fresh)
    set_warnings()
    try:
        with heard():
            RecipeCLI(verb, recipe, invocation)
    except ProfileFinished:
        return
    except ArgumentError as error:
        raise UserError(_explain(str(error), recipe)) from error
    except MisconfigurationException as error:
        raise UserError(str(error)) from error


def for_profiling(recipe: Recipe) -> Recipe:
    """The recipe of a run that measures some training steps, in a folder of its own inside the run's."""
    trainer = {
        "default_root_dir": f"{recipe.merged['trainer']['default_root_dir']}/profile",
        "limit_val_batches": 0,
        "profiler": {
            "class_path": "music_flamingo.callbacks.StepProfiler",
            "init_args": {"folder": "${trainer.default_root_dir}"},
        },
    }
    return replace(recipe, merged=merge(recipe.merged, {"trainer": trainer}))


def show_help(verb: str, arguments: Sequence[str]) -> None:
    """Lightning's own help: every trainer setting, or with --model.help CLASS the settings of a class."""
    summary = inspect.getdoc(getattr(Trainer, verb)) or ""
    _HelpCLI(
        LightningModule,
        LightningDataModule,
        save_config_callback=None,
        parser_kwargs={verb: {"description": DESCRIPTION.format(summary=summary.splitlines()[0])}},
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=[verb, *arguments],
        auto_configure_optimizers=False,
    )


def set_warnings() -> None:
    """Hide what no user can act on: advertisements, advice on worker counts, a deprecation inside Lightning itself."""
    hints = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    hints.addFilter(lambda record: "Tip: For seamless cloud" not in record.getMessage())
    # Of a checkpoint that is to be written with optimizer and loops: so are all, and none is pickled.
    saving = logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector")
    saving.addFilter(lambda record: "`weights_only` was not set" not in record.getMessage())
    warnings.filterwarnings("ignore", message=r"The '\w+' does not have many workers")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # transformers loads models in evaluation mode, and frozen modules stay in it on purpose.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")


def peak_rss_mib() -> int:
    """The most memory this process has held, in MiB; data-loading workers not included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / MIB if sys.platform == "darwin" else peak * 1024 / MIB)  # bytes there, KiB on Linux


def _refuse_misplaced_flags(verb: str, invocation: Invocation) -> None:
    flags = {"--test": invocation.test, "--profile": invocation.profile, "--fresh": invocation.fresh}
    for flag, given in flags.items():
        if given and verb != "fit":
            raise UserError(f"{flag} goes with fit, not with {verb}: leave it out")
    if invocation.test and invocation.profile:
        raise UserError("--profile ends before there is a model to test: leave out --test")


def _explain(message: str, recipe: Recipe) -> str:
    """The complaint in one line that begins with file and key."""
    steps = failed_key(message)
    places = [(key, value) for key, value in walk(recipe.merged) if _short(key) == steps]
    if not places:
        return f"{'.'.join(steps)}: {one_line(message)}" if steps else one_line(message)
    # Entries of a list share their keys in the message: the value tells them apart.
    key = next((key for key, value in places if str(value) == failed_value(message)), places[0][0])
    return f"{recipe.origin(key)}: {show_key(key)}: {one_line(message)}"


def _short(key: Key) -> Key:
    return tuple(step for step in key if isinstance(step, str) and step not in CLASS_KEYS)
