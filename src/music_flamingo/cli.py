"""`music-flamingo`: one command, one verb for each thing a person does.

A verb is a line in a table and a typed function elsewhere, imported only once the verb is chosen, so that
the help answers at once. Every mistake a user can mend ends in one line, `error: ...`, and exit status 2; where a
check found what it looks for, 1.
"""

import difflib
import importlib
import inspect
import sys
from argparse import ArgumentError
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from music_flamingo import __version__
from music_flamingo.errors import UserError

TRAINER_VERBS = {
    "fit": "train from a recipe",
    "validate": "validate a recipe's model on its validation songs",
    "test": "test a recipe's model on its test songs",
    "predict": "answer about songs, without scoring",
}
EPILOGUE = """\
Help for one verb: music-flamingo VERB --help
A first run:       music-flamingo songbook --out runs/songbook/corpus
                   music-flamingo init --out runs/songbook/0_init --corpus runs/songbook/corpus
                   music-flamingo fit --config recipes/songbook/1_tagging.yaml
"""


@dataclass(frozen=True)
class Verb:
    """A verb beside Lightning's: which function it is, and which of its parameters need no `--`.

    `target` is `module:function`; `positionals` come in the order they are typed; `rest` takes the options that the
    function does not name, with what follows them: a recipe and its settings.
    """

    target: str
    summary: str
    positionals: tuple[str, ...] = ()
    rest: str = ""

    def load(self) -> Callable[..., object]:
        """Import the function."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


VERBS = {
    "songbook": Verb(
        "music_flamingo.corpora.songbook.build:songbook_command",
        "make a corpus of real music with exact answers",
    ),
    "init": Verb("music_flamingo.new_model:init_command", "make a model to start from, untrained or of trained parts"),
    "convert": Verb(
        "music_flamingo.models.converting:convert_command",
        "make a Hugging Face directory of a published checkpoint",
        ("kind", "src"),
    ),
    "export": Verb(
        "music_flamingo.exporting:export_command",
        "make a Hugging Face directory of a checkpoint, with model card",
        ("checkpoint",),
    ),
    "plan": Verb(
        "music_flamingo.planning.plan:plan_command",
        "say whether a recipe fits on some devices, and how long it takes",
        rest="recipe",
    ),
    "doctor": Verb(
        "music_flamingo.planning.doctor:doctor_command",
        "check this machine, and a run's folder or a corpus",
        ("place",),
    ),
    "report": Verb(
        "music_flamingo.evaluation.report:report_command",
        "write report.json and report.html of a run",
        ("run",),
    ),
    "ask": Verb("music_flamingo.evaluation.ask:ask_command", "ask a trained model about a song", ("song", "question")),
    "data import": Verb(
        "music_flamingo.corpora.formats.importing:import_command",
        "make a corpus of a published dataset",
        ("format", "src"),
    ),
    "data check": Verb(
        "music_flamingo.corpora.inspection.check:check_command",
        "find what is wrong with a corpus",
        ("corpus",),
    ),
    "data stats": Verb(
        "music_flamingo.corpora.inspection.stats:stats_command",
        "count what is in a corpus",
        ("corpus",),
    ),
    "data overlap": Verb(
        "music_flamingo.corpora.inspection.overlap:overlap_command",
        "find what of a corpus stands in a benchmark",
        ("corpus",),
    ),
    "data shar": Verb(
        "music_flamingo.corpora.shar.build:shar_command", "store a corpus as lhotse Shar, with an index", ("corpus",)
    ),
    "data shar-index": Verb(
        "music_flamingo.corpora.shar.build:shar_index_command", "index a corpus of lhotse Shar", ("corpus",)
    ),
    "data export": Verb(
        "music_flamingo.corpora.formats.exporting:export_command",
        "write a corpus as a published format",
        ("corpus",),
    ),
    "data audit": Verb(
        "music_flamingo.evaluation.audit:audit_command", "say which songs a run lost or repeated", ("run",)
    ),
    "slurm": Verb(
        "music_flamingo.slurm.submitting:slurm_command", "train from a recipe on a SLURM cluster", rest="fit"
    ),
    "jobs": Verb("music_flamingo.slurm.jobs:jobs_command", "show what runs on a SLURM cluster"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: what follows the program's name; by default the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        run(words)
    except UserError as error:
        print(f"error: {last_message(error)}", file=sys.stderr)
        return error.exit_status
    return 0


def run(words: Sequence[str]) -> None:
    """Do what the words say.

    Raises:
        UserError: no such verb, or the verb's own complaint.
    """
    verb, rest = split_verb(words) if words else ("--help", ())
    if verb in ("-h", "--help", "help"):
        print(overview())
    elif verb == "--version":
        print(f"music-flamingo {__version__}")
    elif verb in TRAINER_VERBS:
        importlib.import_module("music_flamingo.trainer_cli").run_verb(verb, rest)
    elif verb in VERBS:
        call(verb, VERBS[verb], rest)
    else:
        known = (*TRAINER_VERBS, *VERBS)
        group = [name for name in VERBS if name.startswith(f"{verb} ")]
        nearest = group or difflib.get_close_matches(verb, known, n=1)
        remedy = f"did you mean {' or '.join(nearest)}?" if nearest else f"verbs: {', '.join(known)}"
        raise UserError(f"unknown verb {verb}; {remedy}")


def split_verb(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The verb, which may be two words such as `data import`, and what follows it."""
    is_group = any(name.startswith(f"{words[0]} ") for name in VERBS)
    length = 2 if is_group and len(words) > 1 and not words[1].startswith("-") else 1
    return " ".join(words[:length]), words[length:]


def overview() -> str:
    """Every verb on one screen."""
    summaries = TRAINER_VERBS | {name: verb.summary for name, verb in VERBS.items()}
    width = max(map(len, summaries)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in summaries.items()]
    return "\n".join(["usage: music-flamingo VERB [arguments]", "", *lines, "", EPILOGUE.rstrip()])


def call(name: str, verb: Verb, words: Sequence[str]) -> None:
    """Call a verb's function with arguments parsed to its types.

    Raises:
        UserError: an argument is missing, unknown or of another type.
    """
    function = verb.load()
    parser = function_parser(f"music-flamingo {name}", function, verb.positionals, verb.rest)
    own, others = own_words(words, inspect.signature(function).parameters) if verb.rest else (words, [])
    try:
        settings = parser.parse_args([with_underscores(word) for word in own])
    except ArgumentError as error:
        one_line = importlib.import_module("music_flamingo.parse_errors").one_line
        where = f"{error.argument_name}: " if error.argument_name else ""
        raise UserError(f"{where}{one_line(error.message)}; see music-flamingo {name} --help") from error
    function(**vars(parser.instantiate(settings)), **({verb.rest: others} if verb.rest else {}))


def own_words(words: Sequence[str], names: Collection[str]) -> tuple[list[str], list[str]]:
    """Options of these names with what follows them, and all other words."""
    own: list[str] = []
    others: list[str] = []
    owner = own
    for word in words:
        if word in ("-h", "--help"):
            owner = own
        elif word == "-c" or word.startswith(("--", "-c=")):
            owner = own if with_underscores(word).partition("=")[0][2:] in names else others
        owner.append(word)
    return own, others


def with_underscores(word: str) -> str:
    """An option as Python names it: `--audio-root` is `--audio_root`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def function_parser(prog: str, function: Callable[..., object], positionals: Sequence[str], rest: str = "") -> Any:
    """A jsonargparse parser for a typed function; help texts come from its docstring.

    Args:
        prog: how the help begins.
        function: each parameter is an option.
        positionals: parameters that are given without their names.
        rest: a parameter that is none of the parser's.

    Returns:
        jsonargparse.ArgumentParser, untyped as importing it here would slow down the help.
    """
    jsonargparse = importlib.import_module("jsonargparse")
    texts = importlib.import_module("docstring_parser").parse(inspect.getdoc(function) or "")
    parser = jsonargparse.ArgumentParser(prog=prog, description=texts.short_description, exit_on_error=False)
    types: dict[str, Any] = inspect.get_annotations(function, eval_str=True)
    helps = {text.arg_name: text.description for text in texts.params}
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name in positionals:
        optional = {} if defaults[name] is inspect.Parameter.empty else {"nargs": "?", "default": defaults[name]}
        parser.add_argument(name, type=types[name], help=helps.get(name), **optional)
    flags = {name for name, kind in types.items() if kind is bool}
    for name in sorted(flags):
        parser.add_argument(f"--{name}", action="store_true", help=helps.get(name))
    several = [name for name, kind in types.items() if get_origin(kind) in (list, Sequence) and name != rest]
    for name in several:
        needed = {"required": True} if defaults[name] is inspect.Parameter.empty else {"default": defaults[name]}
        parser.add_argument(f"--{name}", type=get_args(types[name])[0], nargs="+", help=helps.get(name), **needed)
    parser.add_function_arguments(function, skip={*positionals, *flags, *several, rest} - {""}, as_positional=False)
    return parser


def last_message(error: Exception) -> str:
    """The error's own line, also where a data-loading worker wrapped it in its traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    wrapped = "Original Traceback" in str(error)
    return lines[-1].partition(": ")[2] if wrapped else " ".join(line.strip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
