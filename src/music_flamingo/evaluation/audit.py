"""`music-flamingo data audit`: was every song of every epoch trained on, and none twice?

It compares the run's ledger with the manifests of its corpora.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from music_flamingo.corpora.conversations import read_cuts
from music_flamingo.data_modules.song_order import songs_of_epoch
from music_flamingo.errors import UserError
from music_flamingo.ledger_file import read_rows, read_starts


@dataclass(frozen=True)
class EpochAudit:
    """What the ledger says of one epoch.

    Attributes:
        epoch: its number.
        visits: of songs, trained on.
        kept_out: visits that curriculum or quarantine kept out.
        lost: songs that were due and neither trained on nor kept out; None in the epoch under way.
        repeated: visits beyond those that were due.
    """

    epoch: int
    visits: int
    kept_out: int
    lost: int | None
    repeated: int


def audit_command(run: Path) -> None:
    """Say what a run's training lost or repeated of its songs.

    Args:
        run: folder of a stage whose recipe names the Ledger callback.
    """
    starts, epochs = read_starts(run / "ledger"), audit(run)
    table = Table(title=f"{run}: songs trained on, started {len(starts)} times", title_justify="left")
    for column in ("epoch", "visits", "kept out", "lost", "repeated"):
        table.add_column(column, justify="right")
    for each in epochs:
        numbers = (each.epoch, each.visits, each.kept_out, each.lost, each.repeated)
        table.add_row(*("under way" if number is None else str(number) for number in numbers))
    Console().print(table)
    lost, repeated = sum(each.lost or 0 for each in epochs), sum(each.repeated for each in epochs)
    if lost or repeated:
        raise UserError(f"{run}: expected every song once per pass, got {lost} lost and {repeated} repeated visits")
    print("0 lost, 0 repeated")


def audit(run: Path) -> list[EpochAudit]:
    """Every epoch of a run.

    Raises:
        UserError: the run has no ledger, or its corpora are other ones now.
    """
    starts = read_starts(run / "ledger")
    if not starts:
        raise UserError(
            f"{run / 'ledger'}: expected a ledger, got none: add music_flamingo.callbacks.Ledger to trainer.callbacks"
        )
    ids = _cut_ids(starts[-1], run)
    visited: dict[int, Counter[str]] = defaultdict(Counter)
    skipped: dict[int, int] = defaultdict(int)
    for row in read_rows(run / "ledger"):
        for cut_id, epoch, _ in row["visits"]:
            visited[epoch][cut_id] += 1
            skipped[epoch] = max(skipped[epoch], row["skipped"])
    return list(_compare(visited, skipped, ids, starts[-1]))


def _compare(
    visited: Mapping[int, Counter[str]], skipped: Mapping[int, int], ids: Sequence[str], order: Mapping[str, Any]
) -> Iterator[EpochAudit]:
    skipped_before = 0
    for epoch in sorted(visited):
        due = _due(epoch, ids, order)
        kept_out = skipped[epoch] - skipped_before
        skipped_before = skipped[epoch]
        missing = (due - visited[epoch]).total() - kept_out
        is_whole = epoch < max(visited) or missing <= 0
        repeated = (visited[epoch] - due).total()
        yield EpochAudit(epoch, visited[epoch].total(), kept_out, max(missing, 0) if is_whole else None, repeated)


def _due(epoch: int, ids: Sequence[str], order: Mapping[str, Any]) -> Counter[str]:
    """How often each song is due in an epoch."""
    due: Counter[str] = Counter()
    start = 0
    for source, (size, passes) in enumerate(zip(order["sizes"], order["passes"], strict=True)):
        songs = songs_of_epoch(size, passes, epoch, f"{order['seed']} {source}")
        due.update(ids[start + song] for song in songs)
        start += size
    return due


def _cut_ids(start: Mapping[str, Any], run: Path) -> list[str]:
    ids = [cut.id for corpus in start["corpora"] for cut in read_cuts(corpus, "train")]
    if len(ids) != sum(start["sizes"]):
        raise UserError(
            f"{run}: expected the {sum(start['sizes'])} songs it was trained on in {', '.join(start['corpora'])}, got "
            f"{len(ids)}: audit where the corpora are as they were"
        )
    return ids
