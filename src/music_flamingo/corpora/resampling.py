"""Resampling a signal that comes in pieces, as if it had come whole."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


def resampled(pieces: Iterable[Samples], source: int, target: int) -> Iterator[Samples]:
    """What soxr's high quality makes of all pieces together: what transformers hears when it loads a file.

    soxr's stream keeps the samples that its filter still needs, so the pieces' borders leave no trace, not even in the
    last bit. As in transformers, the end is trimmed or filled with silence to a number of samples that is exact.

    Args:
        pieces: (S_i,) float32, of any lengths.
        source: their rate in Hz.
        target: the rate wanted.

    Yields:
        (T_i,) float32, together `ceil(S * target / source)` samples.

    Source: `load_audio` of transformers, with its back end soundfile.
    """
    if source == target:
        yield from pieces
        return
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    received = given = 0
    for piece in pieces:
        received += len(piece)
        stretch = stream.resample_chunk(piece)
        given += len(stretch)
        yield stretch
    rest = -(-received * target // source) - given
    end = stream.resample_chunk(np.empty(0, np.float32), last=True)[: max(0, rest)]
    yield np.pad(end, (0, max(0, rest - len(end))))
