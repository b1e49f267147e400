"""What does a recipe need of each device, in bytes and seconds? Worked out from a configuration and made-up rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor, MusicFlamingoConfig

from music_flamingo.corpora.songs import holds_split, open_songs
from music_flamingo.data_modules import Blend
from music_flamingo.errors import UserError
from music_flamingo.models import LoRA
from music_flamingo.models.audio_frontend import AudioFrontend
from music_flamingo.models.cost_model import CostModel
from music_flamingo.models.freezing import freeze_parameters
from music_flamingo.models.model_kinds import cost_model_of, frontend_of
from music_flamingo.planning.activations import Adapters, Arithmetic, Recompute, Trained
from music_flamingo.planning.asked import Asked, config_of
from music_flamingo.planning.devices import DeviceGroup
from music_flamingo.planning.memory import FLOAT, Moment, States, Step, fullest, rollout_moments, training_moments
from music_flamingo.planning.parameters import Parameters, count_parameters, is_known, known_kinds, meta_network
from music_flamingo.planning.rows import PlannedRow, Texts, encoder_frames_of, planned_row
from music_flamingo.planning.sharding import Model, Placement, placement_of
from music_flamingo.planning.sizes import decoder_sizes, encoder_sizes
from music_flamingo.planning.timing import StepTime, step_time

USABLE = 0.95
"""Share of a device's memory that is counted on; the driver, libraries and gaps between tensors take the rest."""
SONG_SECONDS = 180.0
"""Of a song where no corpus tells."""
LENGTHS = (30.0, 240.0, 600.0, 1200.0)
NOTHING_HELD = States(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Assumptions:
    """What no recipe says.

    Attributes:
        song_seconds: of a song; None takes the mean of the corpus, or three minutes where there is none.
        question_tokens: of a question, with what the chat template writes around it.
        answer_tokens: of an answer that is trained.
        questions: on a song, where the recipe asks all of them.

    Raises:
        UserError: a number that is not above 0.
    """

    song_seconds: float | None = None
    question_tokens: int = 40
    answer_tokens: int = 120
    questions: int = 4

    def __post_init__(self) -> None:
        for name, number in vars(self).items():
            if number is not None and number <= 0:
                raise UserError(f"--{name.replace('_', '-')}: expected a number above 0, got {number}")


@dataclass(frozen=True)
class Sized:
    """A model as a recipe trains it.

    Attributes:
        kind: as its configuration calls it.
        parameters: of its parts.
        trained: what of them learns.
        rounded: numbers of weights that mixed precision copies, by part.
        step: None for kinds whose activations are not counted.
        layers: of the language model.
        cost_model: FLOPs of its rows.
        frontend: which windows it hears.
    """

    kind: str
    parameters: Parameters
    trained: Trained
    rounded: Mapping[str, int]
    step: Step | None
    layers: int
    cost_model: CostModel
    frontend: AudioFrontend


@dataclass(frozen=True)
class Length:
    """What a song of some length keeps, alone in a row with its questions."""

    seconds: float
    tokens: int
    activations: float
    recomputing: float
    recomputing_layers: float


@dataclass(frozen=True)
class Epoch:
    """What one is: visits of songs, their mean length, and the steps that takes."""

    songs: float
    song_seconds: float
    steps: float


@dataclass(frozen=True)
class Plan:
    """What a recipe needs.

    Attributes:
        asked: of the recipe.
        group: the devices.
        placement: how the model is divided over them.
        model: its sizes.
        texts: what is said about each song.
        row: a row of songs as they are.
        fullest_row: the one that needs most memory.
        moments: when it is needed, all of them.
        time: of a step on `row`.
        lengths: what songs of other lengths keep.
        visits: songs of an epoch and their mean length in seconds; None where the corpus is not at hand.
    """

    asked: Asked
    group: DeviceGroup
    placement: Placement
    model: Sized
    texts: Texts
    row: PlannedRow
    fullest_row: PlannedRow
    moments: Sequence[Moment]
    time: StepTime
    lengths: Sequence[Length]
    visits: tuple[float, float] | None

    @property
    def fullest(self) -> Moment:
        return fullest(self.moments)

    @property
    def usable(self) -> float:
        return USABLE * self.group.device.memory

    @property
    def fits(self) -> bool:
        return self.fullest.total <= self.usable

    @property
    def epoch(self) -> Epoch | None:
        if self.visits is None:
            return None
        songs, seconds = self.visits
        return Epoch(songs, seconds, songs / (self.row.songs * self.rows_of_step))

    @property
    def rows_of_step(self) -> int:
        """Rows over all devices between two steps of the optimizer."""
        return self.group.count // self.placement.row_shares * self.asked.accumulated


def plan_of(asked: Asked, group: DeviceGroup, assumptions: Assumptions) -> Plan:
    """Work it out.

    Raises:
        UserError: the model's directory is not there, or nothing is known of its kind or of the strategy.
    """
    placement = placement_of(asked.strategy, group.count)
    model = sized(asked, on_cpu=group.device.is_cpu)
    durations = _durations(asked.blend)
    mean = SONG_SECONDS if durations is None else durations[1]
    seconds = min(assumptions.song_seconds or mean, asked.longest_song)
    texts = _texts(asked, assumptions)

    def row_of(length: float) -> PlannedRow:
        return planned_row(length, texts, asked.limits, model.frontend, model.cost_model)

    row, *longer = _rows(row_of, seconds, asked)
    candidates = [(each, moments_of(model, each, asked, placement)) for each in (row, *longer)]
    fullest_row, moments = max(candidates, key=lambda pair: fullest(pair[1]).total)
    references = int(asked.keeps_reference)
    return Plan(
        asked=asked,
        group=group,
        placement=placement,
        model=model,
        texts=texts,
        row=row,
        fullest_row=fullest_row,
        moments=moments,
        time=step_time(
            row,
            model.cost_model,
            _step_on(model, row, asked, placement.row_shares),
            model.trained,
            references,
            group.device,
        ),
        lengths=[]
        if model.step is None
        else [_length(model, model.step, each, texts, asked) for each in _lengths(asked)],
        visits=durations,
    )


def _rows(row_of: Callable[[float], PlannedRow], seconds: float, asked: Asked) -> list[PlannedRow]:
    """Of songs as they are, of the longest, and of such that fill a row."""
    longest = row_of(asked.longest_song)
    filling = row_of(filling_seconds(longest, asked.limits.max_tokens))
    if asked.limits.max_tokens is not None and longest.given.tokens > asked.limits.max_tokens:
        longest = filling  # training refuses a song that no row can hold
    return [row_of(min(seconds, longest.song_seconds)), longest, filling]


def filling_seconds(longest: PlannedRow, max_tokens: int | None) -> float:
    """Length of songs of which a whole number fills a row; of the longest songs where tokens are not limited.

    Args:
        longest: a row of these.
        max_tokens: of a row.
    """
    tokens, audio = longest.given.tokens / longest.songs, longest.given.audio_tokens / longest.songs
    if max_tokens is None or not audio or max_tokens < tokens - audio:
        return longest.song_seconds
    shared = max_tokens / math.ceil(max_tokens / tokens)
    return math.floor(longest.song_seconds * max(0.0, shared - (tokens - audio)) / audio) or longest.song_seconds


def sized(asked: Asked, *, on_cpu: bool) -> Sized:
    """The model that a recipe starts from, with what it freezes and adds.

    Raises:
        UserError: it is not there, or of a kind that is not known.
    """
    config: Any = config_of(asked.start)
    if not is_known(config):
        known = ", ".join(known_kinds())
        raise UserError(f"{asked.start}: expected a model of the kinds {known}, got {config.model_type}: give another")
    network: Any = meta_network(config)
    if asked.lora is not None:
        with torch.device("meta"):
            asked.lora.adapt(network.model.language_model)
        network.lm_head.requires_grad_(False)
    freeze_parameters(network, asked.freeze)
    parameters = count_parameters(network)
    # GRPO updates in evaluation mode.
    adapters = (
        None if asked.lora is None else _adapters(network.model.language_model, asked.lora, drops=not asked.samples)
    )
    trained = trained_parts(network, parameters, adapters)
    step = None
    if isinstance(config, MusicFlamingoConfig):
        numbers = Arithmetic(FLOAT if asked.precision == "32-true" else 2, on_cpu)
        step = Step(
            decoder_sizes(config.text_config),
            encoder_sizes(config),
            trained,
            numbers,
            accumulates=asked.accumulated > 1,
        )
    parts = ["projector", "layers", "head", *(["encoder"] if trained.encoder_from is not None else [])]
    return Sized(
        kind=config.model_type,
        parameters=parameters,
        trained=trained,
        rounded={part: parameters[part].matrices for part in parts},
        step=step,
        layers=config.text_config.num_hidden_layers,
        cost_model=cost_model_of(asked.start),
        frontend=_frontend(asked.start),
    )


def trained_parts(network: Any, parameters: Parameters, adapters: Adapters | None) -> Trained:
    """Which parts of a network learn, as their parameters say."""
    names = [name for name, each in network.model.audio_tower.named_parameters() if each.requires_grad]
    numbers = [int(name.split(".")[1]) for name in names if name.startswith("layers.")]
    first = None if not names else 0 if any(name.startswith("conv") for name in names) else 1 + min(numbers, default=0)
    return Trained(
        encoder_from=first,
        projector=parameters["projector"].trained > 0,
        decoder=adapters is None and parameters["layers"].trained > 0,
        head=parameters["head"].trained > 0,
        adapters=adapters,
    )


def moments_of(model: Sized, row: PlannedRow, asked: Asked, placement: Placement) -> list[Moment]:
    """When a step on a row needs memory, and what for."""
    step = _step_on(model, row, asked, placement.row_shares)
    held = Model(
        model.parameters,
        model.layers,
        FLOAT if asked.precision == "32-true" else 2,
        asked.moments,
        0 if asked.is_fused else FLOAT,
        _rounded(model, step),
        int(asked.keeps_reference),
    )
    states = placement.states(held)
    if step is None:
        parts = {"weights": states.weights, "gradients": states.gradients, "optimizer": states.optimizer}
        return [Moment("before any row, as this kind's activations are not counted", parts)]
    training = training_moments(step, states, row.trained, encoder_frames_of(row.trained))
    moments = [_shared(moment, placement.row_shares) for moment in training]
    if row.rollout is not None:
        moments += rollout_moments(step, placement.sampling_states(held), row.rollout)
    return moments


def _rounded(model: Sized, step: Step | None) -> int:
    """Numbers of weights whose copies are kept for the backward pass: not of what is computed again, but for a layer.

    Feed-forward networks have the share of a layer's matrices that their sizes say.
    """
    numbers = dict(model.rounded)
    if step is not None and step.recompute is not Recompute.NOTHING:
        sizes = step.decoder
        layer = numbers["layers"] / sizes.layers
        again = layer if step.recompute is Recompute.LAYER else min(layer, 3.0 * sizes.width * sizes.inner)
        numbers["layers"] -= round(again * (sizes.layers - 1))
    if step is not None and step.recompute_encoder:
        numbers["encoder"] = 0
    return sum(numbers.values())


def _step_on(model: Sized, row: PlannedRow, asked: Asked, shares: int) -> Step | None:
    if model.step is None:
        return None
    tokens, audio = row.trained.tokens / shares, row.trained.audio_tokens / shares
    above = math.inf if asked.recompute_above is None else asked.recompute_above
    layers_above = math.inf if asked.recompute_layers_above is None else asked.recompute_layers_above
    recompute = Recompute.LAYER if tokens > layers_above else Recompute.NETWORK if tokens > above else Recompute.NOTHING
    return replace(model.step, recompute=recompute, recompute_encoder=audio > layers_above)


def _shared(moment: Moment, devices: int) -> Moment:
    """A moment of a row that so many devices share: what is kept of it is divided."""
    kept = moment.parts.get("activations", 0.0) / devices
    return moment if devices == 1 else replace(moment, parts=moment.parts | {"activations": kept})


def _length(model: Sized, step: Step, seconds: float, texts: Texts, asked: Asked) -> Length:
    alone = replace(asked.limits, max_tokens=1, max_flops=None, max_duration=None)
    row = planned_row(seconds, texts, alone, model.frontend, model.cost_model)
    kept = [_kept(replace(step, recompute=each, recompute_encoder=each is Recompute.LAYER), row) for each in Recompute]
    return Length(seconds, row.trained.tokens, *kept)


def _kept(step: Step, row: PlannedRow) -> float:
    moments = training_moments(step, NOTHING_HELD, row.trained, encoder_frames_of(row.trained))
    return max(moment.parts["activations"] for moment in moments)


def _lengths(asked: Asked) -> list[float]:
    return [each for each in LENGTHS if each <= asked.longest_song] or [asked.longest_song]


def _texts(asked: Asked, assumptions: Assumptions) -> Texts:
    questions = assumptions.questions if asked.questions is None else asked.questions
    sampled = (asked.sampling.num_generations, asked.sampling.max_new_tokens) if asked.samples else (0, 0)
    return Texts(questions, assumptions.question_tokens, assumptions.answer_tokens, *sampled)


def _adapters(language_model: nn.Module, lora: LoRA, *, drops: bool) -> Adapters:
    """Which linear layers of the first decoder layer have one; all layers are alike."""
    names = [name for name, _ in language_model.named_parameters() if ".lora_A." in name and "layers.0." in name]
    linears = frozenset(name.split(".lora_A.")[0].rpartition(".")[2] for name in names)
    return Adapters(linears, lora.rank, drops and lora.dropout > 0)


def _durations(blend: Blend | None) -> tuple[float, float] | None:
    """Songs visited in an epoch, and their mean length in seconds; None where a corpus is not at hand."""
    corpora = [] if blend is None else [source.corpus for source in blend.sources]
    if blend is None or not all(holds_split(corpus, "train") for corpus in corpora):
        return None
    songs = [open_songs(corpus, "train").durations for corpus in corpora]
    passes = blend.passes([len(each) for each in songs])
    visits = [len(each) * times for each, times in zip(songs, passes, strict=True)]
    means = [float(np.nanmean(each)) if len(each) else 0.0 for each in songs]
    total = sum(visits)
    return total, sum(v * mean for v, mean in zip(visits, means, strict=True)) / max(total, 1e-9)


def _frontend(start: str) -> AudioFrontend:
    extractor = AutoFeatureExtractor.from_pretrained(start, local_files_only=True)
    return frontend_of(SimpleNamespace(feature_extractor=extractor))
