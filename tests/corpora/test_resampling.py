import numpy as np
import pytest
import soxr

from music_flamingo.corpora.resampling import resampled


def whole(samples: np.ndarray, source: int) -> np.ndarray:
    """As transformers does it once all is loaded."""
    wanted = -(-len(samples) * 16_000 // source)
    resampled = soxr.resample(samples, source, 16_000, quality="soxr_hq")
    return np.pad(resampled, (0, max(0, wanted - len(resampled))))[:wanted]


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 44_056, 16_001, 16_000])
@pytest.mark.parametrize("sizes", [(7_000, 1, 0, 441, 9_000, 12), (3,), (30_000,)])
def test_pieces_become_what_the_whole_would_become(rate: int, sizes: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, sum(sizes)).astype(np.float32)
    pieces = np.split(samples, np.cumsum(sizes)[:-1])
    joined = np.concatenate(list(resampled(pieces, rate, 16_000)))
    expected = samples if rate == 16_000 else whole(samples, rate)
    assert joined.dtype == np.float32
    assert len(joined) == len(expected) == -(-sum(sizes) * 16_000 // rate)
    np.testing.assert_array_equal(joined, expected)


def test_stretches_come_before_the_end_is_known() -> None:
    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield np.zeros(44_100, np.float32)

    stretches = resampled(endless(), 44_100, 16_000)
    assert sum(len(next(stretches)) for _ in range(5)) > 4 * 16_000


def test_nothing_becomes_nothing() -> None:
    assert sum(len(stretch) for stretch in resampled([], 44_100, 16_000)) == 0
