"""What does a training step keep of a row for its backward pass, in bytes?

Counted from what each layer's operators keep, with torch's autograd and the modules of transformers 5.23 and peft 0.21.
The flow from layer to layer, norms and log-sum-exps are float32; what goes into and comes out of products of matrices
is float32 in `32-true`, and bfloat16 in `bf16-mixed`, where each matrix keeps a rounded copy of its own of what it
reads. All attention here is flash attention, on every device: no scores are kept.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from music_flamingo.planning.sizes import DecoderSizes, EncoderSizes

STREAM = 4
"""Bytes of a number of the residual stream, of norms and of log-sum-exps."""
ROTARY = 8
"""Bytes of a number of transformers' tables of the time embedding as they are applied."""
INDEX = 8


class Recompute(Enum):
    """What of a decoder layer is computed again in the backward pass, and not kept."""

    NOTHING = 0
    NETWORK = 1
    LAYER = 2


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are held.

    Attributes:
        product: bytes of what goes into a product of matrices.
        on_cpu: there dropout keeps a float32 of each number, not a truth value, and the encoder's attention comes out
            in another order than it is read, and is kept twice.
    """

    product: int
    on_cpu: bool

    @property
    def is_mixed(self) -> bool:
        return self.product != STREAM

    @property
    def mask(self) -> int:
        """Bytes that dropout keeps of a number."""
        return 4 if self.on_cpu else 1


@dataclass(frozen=True)
class Adapters:
    """LoRA in each decoder layer.

    Attributes:
        linears: names of the layers that have one, such as `q_proj`.
        rank: of each.
        has_dropout: whether some of their inputs are left out.
    """

    linears: frozenset[str]
    rank: int
    has_dropout: bool


@dataclass(frozen=True)
class Trained:
    """Which parts learn.

    Attributes:
        encoder_from: the first part of the encoder that does: 0 for its convolutions, 1 for its first layer; None
            where it is frozen, and keeps nothing.
        projector: whether it does.
        decoder: whether the weights of its layers do.
        head: whether the language model's head does.
        adapters: of the decoder.
    """

    encoder_from: int | None = 0
    projector: bool = True
    decoder: bool = True
    head: bool = True
    adapters: Adapters | None = None


@dataclass(frozen=True)
class LayerBytes:
    """Of a token in a decoder layer.

    Attributes:
        attention: kept of norm and attention.
        feed_forward: kept of norm and feed-forward network.
        recomputed: more than that exists while network or layer is computed again.
        inner: a number of each inner channel.
    """

    attention: float
    feed_forward: float
    recomputed: float
    inner: float

    @property
    def kept(self) -> float:
        return self.attention + self.feed_forward


def decoder_layer(sizes: DecoderSizes, trained: Trained, numbers: Arithmetic, recompute: Recompute) -> LayerBytes:
    """Of a layer that computes all of its tokens.

    Args:
        sizes: of the decoder.
        trained: what learns.
        numbers: how they are held.
        recompute: what keeps its input alone.
    """
    product = numbers.product
    queries = _inputs(("q_proj", "k_proj", "v_proj"), sizes.width, trained, numbers)
    attended = _flash(sizes, numbers) + _adapted_output(sizes, trained, numbers)
    inputs = _inputs(("gate_proj", "up_proj"), sizes.width, trained, numbers)
    # The gate before and after its nonlinearity, and what it is multiplied with; their product goes into `down_proj`.
    network = inputs + 3 * product * sizes.inner + _inputs(("down_proj",), sizes.inner, trained, numbers)
    norm, stream, inner = _norm(sizes.width, trained), STREAM * sizes.width, product * sizes.inner
    attention = norm + queries + attended
    if recompute is Recompute.LAYER:
        return LayerBytes(stream, 0.0, recomputed=attention + norm + network, inner=inner)
    if recompute is Recompute.NETWORK:
        return LayerBytes(attention, norm + stream, recomputed=network - inputs, inner=inner)
    return LayerBytes(attention, norm + network, recomputed=0.0, inner=inner)


def last_layer(
    sizes: DecoderSizes, trained: Trained, numbers: Arithmetic, tokens: int, read: int, recompute: Recompute
) -> float:
    """Of the last layer, which computes keys and values of all tokens, and the rest of those that are read."""
    layer = decoder_layer(sizes, trained, numbers, recompute)
    if recompute is Recompute.LAYER:
        return tokens * layer.kept
    keys = _inputs(("k_proj", "v_proj"), sizes.width, trained, numbers)
    of_all = _norm(sizes.width, trained) + keys + _flash(sizes, numbers)
    of_read = _inputs(("q_proj",), sizes.width, trained, numbers) + numbers.product * sizes.attended
    return tokens * of_all + read * (of_read + layer.feed_forward)


def encoder(
    sizes: EncoderSizes, trained: Trained, numbers: Arithmetic, frames: int, audio_tokens: int, *, recompute: bool
) -> float:
    """Of all windows of a row.

    Args:
        sizes: of the encoder.
        trained: what learns.
        numbers: how they are held.
        frames: that the layers see, of all windows.
        audio_tokens: half of them.
        recompute: whether its layers keep their inputs alone.
    """
    if trained.encoder_from is None:
        return 0.0
    product, width = numbers.product, sizes.width
    # Two mel frames become one between the convolutions; around each nonlinearity its input and its output are kept.
    convolutions = product * 5 * width + (product * 2 * sizes.mel_bins if numbers.is_mixed else 0)
    inputs = (3 + 1) * product if numbers.is_mixed else 2 * product
    attention = (5 if numbers.on_cpu else 4) * product
    layer = width * (2 * STREAM + inputs + attention) + STREAM * (sizes.heads + 4) + 2 * product * sizes.inner
    layer = STREAM * width if recompute else layer
    layers = min(sizes.layers, sizes.layers + 1 - trained.encoder_from)
    pooling = STREAM * width * frames + STREAM * width * audio_tokens
    time = 2 * ROTARY * sizes.rotated * audio_tokens
    first = convolutions if trained.encoder_from == 0 else 0
    return frames * (first + layers * layer) + pooling + time


def projector(sizes: DecoderSizes, audio_width: int, trained: Trained, numbers: Arithmetic, audio_tokens: int) -> float:
    """Of two matrices with a nonlinearity between them."""
    if not trained.projector and trained.encoder_from is None:
        return 0.0
    return audio_tokens * (numbers.product * (audio_width + 2 * sizes.width) + 2 * INDEX)


def head(sizes: DecoderSizes, trained: Trained, numbers: Arithmetic, read: int, targets: int) -> float:
    """Of the last norm, and of what goes into the head; its logits are computed again."""
    return read * _norm(sizes.width, trained) + targets * (numbers.product * sizes.width + STREAM + INDEX)


def tables(sizes: DecoderSizes, tokens: int) -> float:
    """Rotary tables, which all layers share."""
    return tokens * 2 * STREAM * sizes.head_dim


def _norm(width: int, trained: Trained) -> float:
    """Its input and one number; its weight's gradient needs the normalised input too."""
    return STREAM * (width * (2 if trained.decoder else 1) + 1)


def _flash(sizes: DecoderSizes, numbers: Arithmetic) -> float:
    """Queries, keys, values, output, and a number for each head."""
    return numbers.product * 2 * (sizes.attended + sizes.kept) + STREAM * sizes.heads


def _inputs(names: Collection[str], width: int, trained: Trained, numbers: Arithmetic) -> float:
    """What layers that read the same `width` numbers keep of them: their weights' gradients need it."""
    if trained.decoder:
        return numbers.product * width * (len(names) if numbers.is_mixed else 1)
    adapters = trained.adapters
    adapted = 0 if adapters is None else len(adapters.linears & set(names))
    if adapters is None or not adapted:
        return 0.0
    if adapters.has_dropout:
        return adapted * ((numbers.product + numbers.mask) * width + numbers.product * adapters.rank)
    return numbers.product * (width * (adapted if numbers.is_mixed else 1) + adapted * adapters.rank)


def _adapted_output(sizes: DecoderSizes, trained: Trained, numbers: Arithmetic) -> float:
    """The output of attention is kept anyway: only an adapter keeps it once more."""
    return 0.0 if trained.decoder else _inputs(("o_proj",), sizes.attended, trained, numbers)
