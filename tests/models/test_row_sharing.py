import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.kernels.row_exchange import RowExchange
from music_flamingo.models.row_sharing import RowSharing, both_ends

SOUND, WORD = 7, 1


class FakeGroup:
    """Stands for ranks that are not there."""


def sharing(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> RowSharing:
    monkeypatch.setattr(dist, "get_rank", lambda group: rank)
    monkeypatch.setattr(dist, "get_world_size", lambda group: size)
    return RowSharing(FakeGroup())  # type: ignore[arg-type]


def windows(tokens: list[int]) -> AudioWindows:
    count = len(tokens)
    return AudioWindows(torch.zeros(count, 2, 4), torch.full((count,), 4), torch.arange(count), torch.tensor(tokens))


def row() -> PackedBatch:
    """Five words and three of audio; a question of two that shares the song's last token as what predicts it."""
    builder = RowBuilder(SOUND)
    song = builder.add([WORD, SOUND, SOUND, SOUND, WORD, WORD], windows=windows([2, 1]))
    builder.add([WORD, WORD], parent=song, train_from=0)
    return builder.build()


def test_a_rank_has_as_much_of_the_front_as_of_the_back() -> None:
    assert [both_ends(8, rank, 2) for rank in range(2)] == [
        (range(2), range(6, 8)),
        (range(2, 4), range(4, 6)),
    ]
    # 10 tokens in six stretches: 1, 2, 2, 1, 2, 2
    assert [both_ends(10, rank, 3) for rank in range(3)] == [
        (range(1), range(8, 10)),
        (range(1, 3), range(6, 8)),
        (range(3, 5), range(5, 6)),
    ]
    assert both_ends(1, 0, 2) == (range(0), range(1))


@pytest.mark.parametrize("num_ranks", [2, 4, 8])
def test_ranks_see_equally_many_keys_of_a_song(num_ranks: int) -> None:
    seen = [sum(place + 1 for run in both_ends(1600, rank, num_ranks) for place in run) for rank in range(num_ranks)]
    assert max(seen) == min(seen) == 1600 * 1601 // 2 // num_ranks


@pytest.mark.parametrize(
    ("rank", "runs", "targets"), [(0, (range(2), range(6, 8)), [1]), (1, (range(2, 4), range(4, 6)), [0])]
)
def test_targets_go_with_the_token_that_predicts_them(
    rank: int, runs: tuple[range, ...], targets: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = sharing(monkeypatch, rank, 2)
    tokens = share.tokens(row())
    assert tokens.runs == runs
    assert tokens.exchange.own.tolist() == [place for run in runs for place in run]
    # The first target is predicted by the song's last token, in place 5, the second by the question's first, in 6.
    assert share.targets(row(), tokens).own.tolist() == targets


def test_a_rank_without_windows_encodes_the_first_one_and_gives_none_of_its_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = [sharing(monkeypatch, rank, 3).windows(windows([2, 1])) for rank in range(3)]
    assert [share.chosen for share in shares] == [slice(0, 1), slice(0, 1), slice(1, 2)]
    assert [share.exchange.parts[rank].tolist() for rank, share in enumerate(shares)] == [[], [0, 1], [2]]


def test_parts_of_unequal_length_are_put_in_order_and_sums_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks with the entries 3, 0 and 1 of four numbers, and with 2: a message holds two of the shorter one."""
    parts = [torch.tensor([3, 0, 1]), torch.tensor([2])]
    monkeypatch.setattr(dist, "get_rank", lambda group: 1)
    messages: list[list[float]] = []

    def all_gather(output: Tensor, given: Tensor, group: object) -> None:
        messages.append(given.tolist())
        output.copy_(torch.tensor([30.0, 0.0, 10.0, *given.tolist()]))

    def reduce_scatter(output: Tensor, given: Tensor, group: object) -> None:
        messages.append(given.tolist())
        output.copy_(given[3:] * 2)

    monkeypatch.setattr(dist, "all_gather_single", all_gather)
    monkeypatch.setattr(dist, "reduce_scatter_single", reduce_scatter)
    exchange = RowExchange(FakeGroup(), parts)  # type: ignore[arg-type]
    assert exchange.gather(torch.tensor([20.0])).tolist() == [0.0, 10.0, 20.0, 30.0]
    assert exchange.sum_to_parts(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [6.0]
    assert messages == [[20.0, 0.0, 0.0], [4.0, 1.0, 2.0, 3.0, 0.0, 0.0]]
