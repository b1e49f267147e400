"""Does what a token sees fit into the positions that the language model was made for?"""

from collections.abc import Iterable

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError


def require_positions(batch: PackedBatch, limit: int, segments: Iterable[int], new_tokens: int = 0) -> None:
    """Refuse a row in which a path, from its root to the end of a segment, is too long.

    Args:
        batch: the row.
        limit: positions of the language model.
        segments: those whose paths are to fit.
        new_tokens: how many tokens may be sampled after each.

    Raises:
        UserError: one does not fit; names its cut and conversation where the row says them.
    """
    lengths = batch.tree.path_lengths
    longest = max(segments, key=lengths.__getitem__, default=None)
    if longest is None or lengths[longest] + new_tokens <= limit:
        return
    root = batch.tree.slice_of(batch.tree.root_of(longest))
    song = root.stop - root.start
    parts = [f"{song} of the song", f"{lengths[longest] - song} after it"]
    remedies = ["shorten the text"]
    placeholders = int(((batch.audio_positions >= root.start) & (batch.audio_positions < root.stop)).sum())
    if placeholders > lengths[longest] + new_tokens - limit:
        remedies.insert(0, "lower data.max_song_seconds (data.shorten_songs hears the beginning)")
    if new_tokens:
        parts.append(f"up to {new_tokens} sampled")
        remedies.append("lower max_new_tokens")
    raise UserError(
        f"segment {longest} of the row{_origin(batch, longest)}: expected at most {limit} tokens, the language model's "
        f"text_config.max_position_embeddings, got {lengths[longest] + new_tokens} ({', '.join(parts)}): "
        f"{' or '.join(remedies)}"
    )


def _origin(batch: PackedBatch, segment: int) -> str:
    """` (cut A, conversation B)`, as far as the examples on the segment's path say it."""
    examples = [batch.examples[each] for each in batch.tree.path(segment)]
    cuts = [f"cut {example['cut']}" for example in examples if "cut" in example]
    conversations = [
        f"conversation {example['conversation']['id']}" for example in examples if "conversation" in example
    ]
    named = cuts[-1:] + conversations[-1:]
    return f" ({', '.join(named)})" if named else ""
