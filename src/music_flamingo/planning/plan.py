"""`music-flamingo plan`: does a recipe fit on these devices, and how long will it take?

Nothing is loaded: sizes come from the config.json of the model that the recipe starts from, rows from its limits.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from json import dumps
from pathlib import Path

from music_flamingo.errors import ErrorsFoundError, UserError
from music_flamingo.invocation import Invocation, parse_invocation
from music_flamingo.planning.asked import asked_of
from music_flamingo.planning.devices import DeviceGroup, parse_devices
from music_flamingo.planning.plan_page import gigabytes, page, record
from music_flamingo.planning.planned import Assumptions, Plan, plan_of
from music_flamingo.recipe import Override, read_recipe
from music_flamingo.whole_files import write_text

RECOMPUTE = Override("model.model.recompute_layers_above", "0")
RECIPE_OVERRIDES = ("lora", "fsdp", "deepspeed_zero2", "deepspeed_zero3", "context_parallel")
STRATEGIES = frozenset(RECIPE_OVERRIDES[1:])
MOST_REMEDIES = 3


def plan_command(  # noqa: PLR0913 - one option each
    recipe: Sequence[str],
    *,
    devices: str,
    json: Path | None = None,
    song_seconds: float | None = None,
    question_tokens: int = 40,
    answer_tokens: int = 120,
    questions: int = 4,
) -> None:
    """Say what a recipe needs of each device, in memory and time, without loading anything.

    The recipe is given as for `fit`: --config FILE, --key value. Exit status 1 where it does not fit.

    Args:
        recipe: files and settings.
        devices: number and kind, such as 8xH200; of A100-80GB, H100-80GB, H200, L40S, RTX-4090, cpu.
        json: file for the same, for programs.
        song_seconds: of a song, by default the corpus' mean.
        question_tokens: of a question with the template around it.
        answer_tokens: of an answer that is trained.
        questions: on a song, where the recipe asks all of them.

    Raises:
        UserError: the recipe, the model's directory or the devices are not what they should be.
        ErrorsFoundError: the recipe does not fit.
    """
    invocation, group = parse_invocation(recipe), parse_devices(devices)
    assumptions = Assumptions(song_seconds, question_tokens, answer_tokens, questions)
    plan = plan_of(asked_of(read_recipe(invocation.configs, invocation.overrides)), group, assumptions)
    remedies = [] if plan.fits else list(_first_that_fit(invocation, group, assumptions))
    if json is not None:
        write_text(json, dumps(record(plan, remedies), indent=1) + "\n")
    print(page(plan))
    if not plan.fits:
        raise ErrorsFoundError(_too_large(plan, remedies))


def remedies_for(configs: Sequence[Path], group: DeviceGroup) -> Iterator[tuple[str, ...]]:
    """Overrides to try, fewest first: of the recipes' folder, each by its path, and recomputation by its setting."""
    folders = (each / "overrides" for path in configs for each in path.parents)
    folder = next((each for each in folders if each.is_dir()), None)
    names = [name for name in RECIPE_OVERRIDES if folder is not None and (folder / f"{name}.yaml").is_file()]
    if group.count == 1:
        names = [name for name in names if name not in STRATEGIES]
    setting = f"--{RECOMPUTE.key}={RECOMPUTE.text}"
    options = [setting, *(str(folder / f"{name}.yaml") for name in names if folder is not None)]
    for size in range(1, len(options) + 1):
        for chosen in combinations(options, size):
            if sum(Path(each).stem in STRATEGIES for each in chosen) <= 1:
                yield chosen


def _first_that_fit(invocation: Invocation, group: DeviceGroup, assumptions: Assumptions) -> Iterator[tuple[str, ...]]:
    """The smallest sets of overrides with which the recipe fits, at most a few."""
    found = 0
    size = None
    for chosen in remedies_for(invocation.configs, group):
        if found == MOST_REMEDIES or (size is not None and len(chosen) > size):
            return
        files = [Path(each) for each in chosen if not each.startswith("--")]
        settings = [*invocation.overrides, *([RECOMPUTE] if len(files) < len(chosen) else [])]
        try:
            plan = plan_of(asked_of(read_recipe([*invocation.configs, *files], settings)), group, assumptions)
        except UserError:  # the override does not go with this recipe
            continue
        if plan.fits:
            found, size = found + 1, len(chosen)
            yield chosen


def _too_large(plan: Plan, remedies: Sequence[tuple[str, ...]]) -> str:
    """What is wrong, and what to do, in one line."""
    device = plan.group.device
    needs = f"{gigabytes(plan.fullest.total)} of {gigabytes(plan.usable)} on each {device.name} ({plan.fullest.name})"
    words = [" ".join(each if each.startswith("--") else f"--config {each}" for each in chosen) for chosen in remedies]
    if words:
        return f"does not fit: {needs}; fits with {', or '.join(words)}"
    return f"does not fit: {needs}: plan for more or larger devices, or lower data.max_tokens or data.max_song_seconds"
