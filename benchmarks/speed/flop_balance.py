"""How long does a step wait for its slowest rank? FLOPs of the busiest of eight simulated ranks over those of the mean.

Songs are log-normal of median 180 s, cut to 10 s to 10 min; half of the answers are captions, half are short. FLOPs are
those of a training step of Music Flamingo at its full size with a frozen encoder: forward, by which the sampler
balances, and backward, which it does not ask for. Both are summed over the steps of an epoch, its last one included.
The baselines are lhotse's samplers: equally many songs for each rank, or rows as long as ours by duration. Seconds are
those in which one rank's sampler goes through the epoch of all, without counting texts' tokens.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from lhotse import CutSet, MonoCut
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from transformers import MusicFlamingoConfig, WhisperFeatureExtractor

from benchmarks.claim import Claim
from benchmarks.measurement import paired_seconds
from music_flamingo.data_modules.song_order import SongOrder
from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.data_modules.song_sampler import SongSampler
from music_flamingo.models.audio_frontend import WhisperFrontend
from music_flamingo.models.cost_model import Flops, Workload, song_workload
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost

NUM_RANKS, NUM_SONGS, SEED = 8, 2048, 0
CAPTION, SHORT, QUESTION, AROUND_AUDIO = 600, 30, 30, 10
MAX_TOKENS = 49_152
"""Of a row: about eight songs."""
TOKENS_PER_SECOND = 26
"""25 of audio, and what is said about it."""


def claims() -> Iterator[Claim]:
    """Go through one epoch each way, and time the samplers."""
    cuts = songs()

    def by_count(songs_per_row: int, rank: int) -> CutSampler:
        return SimpleCutSampler(cuts, max_cuts=songs_per_row, shuffle=True, world_size=NUM_RANKS, rank=rank)

    def by_duration(rank: int) -> CutSampler:
        # With `concatenate_cuts`, as otherwise each cut counts as long as the longest of its row.
        settings = {"max_duration": MAX_TOKENS / TOKENS_PER_SECOND, "concatenate_cuts": True}
        return SimpleCutSampler(cuts, **settings, shuffle=True, world_size=NUM_RANKS, rank=rank)

    def balanced(rank: int) -> Iterator[tuple[Cut, ...]]:
        order, limits = SongOrder((NUM_SONGS,), (1.0,), SEED), RowLimits(max_tokens=MAX_TOKENS)
        rows = SongSampler(list(cuts), order, forward_cost, limits, world_size=NUM_RANKS, rank=rank)
        return (row.cuts for row in rows)

    ours = epoch([balanced(rank) for rank in range(NUM_RANKS)])
    setting = f"{NUM_RANKS} simulated ranks, {len(ours)} steps, {NUM_SONGS / NUM_RANKS / len(ours):.1f} songs a rank"
    baselines = {
        "2 songs on each rank": lambda rank: by_count(2, rank),
        "8 songs on each rank": lambda rank: by_count(8, rank),
        "rows of equal duration": by_duration,
    }
    for baseline, sampler in baselines.items():
        theirs = epoch([sampler(rank) for rank in range(NUM_RANKS)])
        seconds = paired_seconds(lambda s=sampler: list(s(0)), lambda: list(balanced(0)), repeats=3)
        quantities = {"baseline_quantity": max_over_mean(theirs), "our_quantity": max_over_mean(ours)}
        yield Claim("FLOP balance, max/mean", setting, baseline, *seconds, must=1.05, **quantities)


def songs() -> CutSet:
    """The mix, always the same."""
    rng = random.Random(SEED)
    durations = [min(max(180 * rng.lognormvariate(0, 0.75), 10), 600) for _ in range(NUM_SONGS)]
    return CutSet([MonoCut(str(number), start=0, duration=d, channel=0) for number, d in enumerate(durations)])


def epoch(samplers: Sequence[Iterable[Iterable[Cut]]]) -> list[list[float]]:
    """Training FLOPs of every rank in every step."""
    return [[math.fsum(map(training_flops, row)) for row in rows] for rows in zip(*samplers, strict=True)]


def max_over_mean(loads: list[list[float]]) -> float:
    """Of an epoch whose steps each take as long as their busiest rank."""
    return sum(map(max, loads)) / sum(sum(step) / len(step) for step in loads)


def forward_cost(cut: Cut) -> SongCost:
    """What the sampler balances."""
    work = workload(cut)
    return SongCost(work.tokens, flops(work).forward)


def training_flops(cut: Cut) -> float:
    """What is judged."""
    return flops(workload(cut)).training(encoder=False, projector=True, language_model=True)


def workload(cut: Cut) -> Workload:
    """A song with one question."""
    answer = CAPTION if int(cut.id.partition("_")[0]) % 2 else SHORT
    frontend = _frontend()
    mel_lengths = frontend.mel_lengths(round(cut.duration * frontend.sampling_rate))
    audio_tokens = int(frontend.token_lengths(mel_lengths).sum())
    return song_workload(mel_lengths, audio_tokens, AROUND_AUDIO, [(QUESTION, answer)])


def flops(work: Workload) -> Flops:
    """At full size."""
    return _cost_model().flops(work)


@lru_cache
def _frontend() -> WhisperFrontend:
    return WhisperFrontend(WhisperFeatureExtractor(feature_size=128, chunk_length=30))


@lru_cache
def _cost_model() -> MusicFlamingoCost:
    """The encoder as transformers has it by default, and Qwen2.5-7B."""
    sizes = {"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28}
    heads = {"num_attention_heads": 28, "num_key_value_heads": 4}
    return MusicFlamingoCost(MusicFlamingoConfig(text_config={"model_type": "qwen2", **sizes, **heads}))
