"""How much memory does each device need, and when?

A training step is at its fullest in one of a few moments. Each is a sum of parts: what a device holds all the time,
what the step has kept so far for its backward pass, and what is being worked on. The fullest moment decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from music_flamingo.models.cost_model import Workload
from music_flamingo.planning import activations
from music_flamingo.planning.activations import Arithmetic, Recompute, Trained
from music_flamingo.planning.sizes import DecoderSizes, EncoderSizes, chunk_rows

FLOAT = 4


@dataclass(frozen=True)
class States:
    """Bytes that a device holds beside a row's.

    Attributes:
        weights: in float32, and those of a reference model.
        rounded: copies of weights in bfloat16 that a step makes and keeps until its backward pass.
        gathered: weights and gradients of other devices' share that exist at the same time.
        gradients: of all that is trained.
        optimizer: its moments.
        stepping: that the optimizer allocates while it steps.
        buckets: copies of gradients on their way to the other devices.
    """

    weights: float
    rounded: float
    gradients: float
    optimizer: float
    gathered: float = 0.0
    stepping: float = 0.0
    buckets: float = 0.0


@dataclass(frozen=True)
class Moment:
    """When memory is full, and of what: bytes of each part."""

    name: str
    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Step:
    """What a training step does to a row.

    Attributes:
        decoder: sizes of the language model.
        encoder: of the audio encoder.
        trained: what learns.
        numbers: how they are held.
        recompute: what of a decoder layer is computed again.
        recompute_encoder: whether its layers are.
        accumulates: whether gradients of earlier rows are there during the backward pass.
    """

    decoder: DecoderSizes
    encoder: EncoderSizes
    trained: Trained
    numbers: Arithmetic
    recompute: Recompute = Recompute.NOTHING
    recompute_encoder: bool = False
    accumulates: bool = False


def fullest(moments: Sequence[Moment]) -> Moment:
    """The one that decides."""
    return max(moments, key=lambda moment: moment.total)


@dataclass(frozen=True)
class KeptBytes:
    """What a step keeps of a row for its backward pass, in the order in which it comes.

    Attributes:
        mel: frames of the row, which are there before and after.
        layers: of encoder, projector and all decoder layers but the last.
        last: of the last layer.
        head: of the last norm and the head.
    """

    mel: float
    layers: float
    last: float
    head: float

    @property
    def before_last(self) -> float:
        return self.mel + self.layers

    @property
    def everything(self) -> float:
        return self.before_last + self.last + self.head


@dataclass(frozen=True)
class WorkingBytes:
    """What exists for a moment only.

    Attributes:
        attention: of a layer, on a CPU.
        logits: of a chunk.
        head_gradient: of the head's weights.
        layer: in the backward pass of a decoder layer, or of its feed-forward network.
    """

    attention: float
    logits: float
    head_gradient: float
    layer: float


def kept_bytes(step: Step, work: Workload, frames: int) -> KeptBytes:
    """Of a row; `frames` as in `training_moments`."""
    decoder, trained, numbers = step.decoder, step.trained, step.numbers
    layer = activations.decoder_layer(decoder, trained, numbers, step.recompute)
    audio = activations.encoder(
        step.encoder, trained, numbers, frames, work.audio_tokens, recompute=step.recompute_encoder
    )
    audio += activations.projector(decoder, step.encoder.width, trained, numbers, work.audio_tokens)
    full_layers = (decoder.layers - 1) * work.tokens * layer.kept + activations.tables(decoder, work.tokens)
    return KeptBytes(
        mel=row_bytes(step.encoder, work),
        layers=audio + full_layers,
        last=activations.last_layer(decoder, trained, numbers, work.tokens, work.read_tokens, step.recompute),
        head=activations.head(decoder, trained, numbers, work.read_tokens, work.targets),
    )


def working_bytes(step: Step, work: Workload) -> WorkingBytes:
    """Of a row."""
    decoder, numbers = step.decoder, step.numbers
    layer = activations.decoder_layer(decoder, step.trained, numbers, step.recompute)
    return WorkingBytes(
        attention=attention_work(decoder, numbers, work.tokens) if numbers.on_cpu else 0.0,
        logits=FLOAT * decoder.vocabulary * min(chunk_rows(decoder.vocabulary), work.targets),
        head_gradient=decoder.vocabulary * decoder.width * (FLOAT + (numbers.product if numbers.is_mixed else 0)),
        # The network's three inner gradients, less what its first one sets free, and the gradient of the stream.
        layer=work.tokens * (2 * layer.inner + layer.recomputed + 2 * FLOAT * decoder.width),
    )


def training_moments(step: Step, states: States, work: Workload, frames: int) -> list[Moment]:
    """Of a step on one row.

    Args:
        step: what is done.
        states: held beside it.
        work: the row.
        frames: of all of its windows, as the encoder's layers see them.
    """
    kept, working = kept_bytes(step, work, frames), working_bytes(step, work)
    gradients = states.gradients
    later = gradients if step.accumulates else 0.0
    first_gradients = max(later, working.head_gradient if step.trained.head else 0.0)
    embedded = work.audio_tokens * step.decoder.width * step.numbers.product
    before_network = kept.before_last + embedded + last_attention(step, work)
    layer = "decoder layer" if step.recompute is Recompute.LAYER else "feed-forward network"

    def moment(name: str, gradients: float, activations: float, at_work: float) -> Moment:
        passing = {"gradients": gradients, "bfloat16 weights": states.rounded, "activations": activations}
        return Moment(name, _held(states) | passing | {"at work": at_work})

    return [
        moment("attention of the last layer", gradients, before_network, working.attention),
        moment("head", gradients, kept.everything, 2 * working.logits),
        moment("backward of the head", later, kept.everything, working.head_gradient + working.logits),
        moment(f"backward of a {layer}", first_gradients, kept.before_last, working.layer),
        Moment(
            "optimizer", _held(states) | {"gradients": gradients, "activations": kept.mel, "at work": states.stepping}
        ),
    ]


def _held(states: States) -> dict[str, float]:
    """All the time."""
    return {
        "weights": states.weights + states.gathered,
        "optimizer": states.optimizer,
        "gradient buckets": states.buckets,
    }


def last_attention(step: Step, work: Workload) -> float:
    """What the last layer keeps before its feed-forward network."""
    # Of a layer that keeps its input alone, the rest is there for the moment.
    recompute = Recompute.NETWORK if step.recompute is Recompute.LAYER else step.recompute
    return activations.last_layer(step.decoder, step.trained, step.numbers, work.tokens, 0, recompute)


def attention_work(sizes: DecoderSizes, numbers: Arithmetic, tokens: int) -> float:
    """Of the CPU's: outputs over root and own segment, the same weighted, both log-sum-exps, and the shares."""
    return tokens * (4 * numbers.product * sizes.attended + 4 * FLOAT * sizes.heads)


def row_bytes(sizes: EncoderSizes, work: Workload) -> float:
    """Mel frames of a row, each window as long as the longest."""
    return FLOAT * sizes.mel_bins * len(work.windows) * max(work.windows, default=0)


@dataclass(frozen=True)
class Rollout:
    """Completions sampled of a row's prompts.

    Attributes:
        work: of the row of prompts.
        songs: in it.
        longest_song: tokens of the longest.
        prompts: on all songs.
        longest_prompt: tokens of the longest question.
        completions: of each prompt.
        new_tokens: the most of a completion.
    """

    work: Workload
    songs: int
    longest_song: int
    prompts: int
    longest_prompt: int
    completions: int
    new_tokens: int

    @property
    def branches(self) -> int:
        return self.prompts * self.completions


def key_value_bytes(sizes: DecoderSizes, rollout: Rollout, product: int) -> float:
    """Keys and values of all layers: of the row, again by song and by question, and of what is sampled."""
    shared = rollout.work.tokens + rollout.songs * rollout.longest_song + rollout.prompts * rollout.longest_prompt
    return 2 * product * sizes.layers * sizes.kept * (shared + rollout.branches * rollout.new_tokens)


def rollout_moments(step: Step, states: States, rollout: Rollout) -> list[Moment]:
    """Of sampling, with the gradients of the step before still there, and all weights whole."""
    sizes, product = step.decoder, step.numbers.product
    held = {
        "weights": states.weights,
        "bfloat16 weights": states.rounded,
        "optimizer": states.optimizer,
        "gradients": states.gradients,
        "gradient buckets": states.buckets,
    }
    work = rollout.work
    row = 2 * product * sizes.layers * sizes.kept * work.tokens
    embedded = product * sizes.width * work.audio_tokens + row_bytes(step.encoder, work)
    # Three numbers of each inner channel, and the stream before, between and after attention and network.
    prefill: float = work.tokens * (3 * product * sizes.inner + 3 * FLOAT * sizes.width)
    prefill += activations.tables(sizes, work.tokens)
    path = rollout.longest_song + rollout.longest_prompt + rollout.new_tokens
    # Logits, their logarithms, probabilities and sums of these; scores of a layer, as float32 and as weights.
    decode = rollout.branches * (4 * FLOAT * sizes.vocabulary + sizes.heads * path * (2 * product + FLOAT))
    keys = key_value_bytes(sizes, rollout, product)
    return [
        Moment("prefill", held | {"activations": embedded, "keys and values": row, "at work": prefill}),
        Moment("decoding", held | {"activations": embedded, "keys and values": keys, "at work": decode}),
    ]
