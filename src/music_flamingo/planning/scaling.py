"""Does training Music Flamingo scale to hundreds of GPUs? The tables of docs/scaling.md.

python -m music_flamingo.planning.scaling
"""

from collections.abc import Iterator
from functools import cache, partial

from transformers import MusicFlamingoConfig, WhisperFeatureExtractor

from music_flamingo.data_modules.song_packing import RowLimits
from music_flamingo.models.audio_frontend import WhisperFrontend
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost
from music_flamingo.planning.activations import Trained
from music_flamingo.planning.communication import Network, Traffic, fully_sharded, zero
from music_flamingo.planning.devices import ACCELERATORS
from music_flamingo.planning.parameters import Parameters, count_parameters, meta_network
from music_flamingo.planning.rows import Texts, planned_row
from music_flamingo.planning.sharding import FullyShardedPlacement, Model, Placement, ZeROPlacement
from music_flamingo.planning.timing import training_flops
from music_flamingo.planning.waiting import longest_completion, waiting

DEVICES = (8, 64, 512)
GIGA = 1e9
BATCH = 128
TEXTS = Texts(questions=1, question_tokens=40, answer_tokens=120)
SONG_SECONDS = 240
MEAN_COMPLETION, LONGEST_COMPLETION, GROUPS = 300.0, 1024, (1, 8, 64)
GROUP_SIZE = 5
BYTES_OF_A_TRAINED_NUMBER = 12
NODE_DISK, SHARED_DISK = 2e9, 20e9
"""Bytes/s that a node, and all nodes together, write to a shared file system."""
LAYERS = 28


def published_config() -> MusicFlamingoConfig:
    """Music Flamingo's sizes: transformers' encoder as it is by default, and Qwen2.5-7B."""
    sizes = {"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": LAYERS}
    heads = {"num_attention_heads": 28, "num_key_value_heads": 4}
    return MusicFlamingoConfig(text_config={"model_type": "qwen2", **sizes, **heads})


@cache
def published_parameters() -> Parameters:
    """All of them trained."""
    return count_parameters(meta_network(published_config()))


def tables() -> str:
    """All tables, as Markdown."""
    return "\n\n".join("\n".join(lines) for lines in every_table())


def every_table() -> Iterator[Iterator[str]]:
    """Lines of each table, in the page's order."""
    yield from (traffic_table(), batch_table(), waiting_table(), checkpoint_table(), rollout_table())


def traffic_table() -> Iterator[str]:
    """What is sent, how long it takes, and how many tokens a row needs to hide it."""
    parameters, network = published_parameters(), Network()
    yield "| GPUs | strategy | received by each, GB a step | seconds | hidden behind rows of | states on each, GB |"
    yield "|---|---|---|---|---|---|"
    for devices in DEVICES:
        ways: list[tuple[str, Traffic, Placement]] = [
            ("FSDP2", fully_sharded(parameters, LAYERS, devices, network), FullyShardedPlacement(devices)),
            *_replicated(parameters, devices, network),
            ("ZeRO-3", zero(parameters, LAYERS, devices, network, 3), ZeROPlacement(devices, 3)),
            ("ZeRO-2", zero(parameters, LAYERS, devices, network, 2), ZeROPlacement(devices, 2)),
        ]
        for name, traffic, placement in ways:
            tokens = f"{tokens_that_hide(traffic.seconds):,} tokens"
            sent = f"{traffic.received / GIGA:,.0f} | {traffic.seconds:.2f}"
            yield f"| {devices} | {name} | {sent} | {tokens} | {state_bytes(parameters, placement) / GIGA:,.0f} |"


def batch_table() -> Iterator[str]:
    """A global batch of 128 sequences on more and more devices."""
    parameters, network = published_parameters(), Network()
    flops, tokens = song_flops(SONG_SECONDS), song_tokens(SONG_SECONDS)
    yield "| GPUs | sequences on each | tokens on each | compute, s | FSDP2, s | busy GPUs |"
    yield "|---|---|---|---|---|---|"
    for devices in DEVICES:
        songs = BATCH / devices
        rows = max(1.0, songs)
        compute, sent = rows * seconds_of(flops), fully_sharded(parameters, LAYERS, devices, network).seconds
        busy = f"{min(1.0, songs):.0%}"
        yield f"| {devices} | {songs:g} | {rows * tokens:,.0f} | {compute:.1f} | {sent:.2f} | {busy} |"


def waiting_table() -> Iterator[str]:
    """What the busiest device has to do, over the mean."""
    yield "| GPUs | one song each | 4 songs each, as they come | 4 songs each, divided by FLOPs |"
    yield "|---|---|---|---|"
    for devices in DEVICES:
        ratio = partial(waiting, song_flops, devices)
        ratios = [ratio(1, balanced=False), ratio(4, balanced=False), ratio(4, balanced=True)]
        yield f"| {devices} | {' | '.join(f'{each:.2f}' for each in ratios)} |"


def checkpoint_table() -> Iterator[str]:
    """Float32 weights and AdamW's moments of all that is trained."""
    size = BYTES_OF_A_TRAINED_NUMBER * published_parameters().trained
    yield "| GPUs | checkpoint, GB | from each GPU, GB | written in, s |"
    yield "|---|---|---|---|"
    for devices in DEVICES:
        seconds = size / min(SHARED_DISK, NODE_DISK * devices / Network().node)
        yield f"| {devices} | {size / GIGA:,.0f} | {size / devices / GIGA:,.2f} | {seconds:,.0f} |"


def rollout_table() -> Iterator[str]:
    """The longest completion that a device, and all of them, wait for."""
    yield "| groups on each GPU | longest completion of one GPU | of 8 | of 64 | of 512 |"
    yield "|---|---|---|---|---|"
    for groups in GROUPS:
        longest = [
            longest_completion(MEAN_COMPLETION, LONGEST_COMPLETION, GROUP_SIZE * groups * devices)
            for devices in (1, *DEVICES)
        ]
        yield f"| {groups} | {' | '.join(f'{each:,.0f}' for each in longest)} |"


def song_tokens(seconds: int) -> int:
    """Of a song with one question and answer."""
    return _row(seconds)[1]


def song_flops(seconds: int) -> float:
    """Forward and backward of it, everything trained."""
    return _row(seconds)[0]


def seconds_of(flops: float) -> float:
    """On an H100 or H200, which multiply equally fast."""
    device = ACCELERATORS["H200"]
    return flops / (device.utilisation * device.peak)


def tokens_that_hide(seconds: float) -> int:
    """Tokens of 4-minute songs that take as long to compute, in hundreds."""
    tokens = seconds / seconds_of(song_flops(SONG_SECONDS)) * song_tokens(SONG_SECONDS)
    return max(100, round(tokens / 100) * 100)


def state_bytes(parameters: Parameters, placement: Placement) -> float:
    """Weights, gradients and AdamW's moments, with what is gathered and rounded, of a device.

    Layers of decoder and encoder are computed again, and keep no rounded weights but those of one.
    """
    rounded = parameters["projector"].matrices + parameters["head"].matrices + parameters["layers"].matrices // LAYERS
    states = placement.states(Model(parameters, LAYERS, product=2, moments=8, stepping=0, rounded=rounded))
    own = states.weights + states.gradients + states.optimizer
    return own + states.gathered + states.rounded + states.buckets


def _replicated(
    parameters: Parameters, devices: int, network: Network
) -> list[tuple[str, Traffic, FullyShardedPlacement]]:
    replicas = devices // network.node
    if replicas == 1:
        return []
    traffic = fully_sharded(parameters, LAYERS, devices, network, replicas=replicas)
    return [(f"FSDP2, {replicas} replicas", traffic, FullyShardedPlacement(devices, replicas))]


@cache
def _model() -> tuple[MusicFlamingoCost, WhisperFrontend]:
    return MusicFlamingoCost(published_config()), WhisperFrontend(WhisperFeatureExtractor(feature_size=128))


@cache
def _row(seconds: int) -> tuple[float, int]:
    """FLOPs and tokens."""
    cost, frontend = _model()
    row = planned_row(seconds, TEXTS, RowLimits(max_duration=seconds), frontend, cost)
    return training_flops(cost.flops(row.trained), Trained()), row.trained.tokens


if __name__ == "__main__":
    print(tables())
