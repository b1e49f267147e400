"""Reading a corpus folder: its cuts, and the texts in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet

from music_flamingo.corpora.cut_fields import is_caption
from music_flamingo.corpora.places import file_sizes, read_bytes
from music_flamingo.corpora.songbook.caption_variants import MAX_VARIANTS, caption_variants, facts_of
from music_flamingo.corpora.songbook.traces import think_text
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError

VOCABULARY = "vocabulary.json"


def read_cuts(corpus: str | Path, split: str) -> CutSet:
    """All cuts of one split, their audio paths made absolute or relative to the current folder as `corpus` is.

    Raises:
        UserError: the folder holds no such split, or a line of it is not a cut with conversations.
    """
    return CutSet(list(open_songs(corpus, split)))


def iterate_texts(corpus: str | Path, split: str = "train") -> Iterator[str]:
    """Thoughts, questions and answers of a split, for training a tokenizer."""
    for cut in open_songs(corpus, split):
        yield think_text(cut.custom.get("observations", []))
        for conversation in cut.custom["conversations"]:
            yield f"{conversation['question']} {conversation['answer']}"


def iterate_captions(corpus: str | Path, split: str = "train") -> Iterator[str]:
    """What contrastive training reads: captions that the cuts of a split hold, and those of the Songbook's truths.

    Raises:
        UserError: a cut's captions are none.
    """
    for cut in open_songs(corpus, split):
        captions = cut.custom.get("captions") or []
        if not isinstance(captions, list) or not all(map(is_caption, captions)):
            raise UserError(
                f"cut {cut.id}: custom.captions: expected captions with `text` and `negatives`, got "
                f"{ascii(captions)[:80]}: mend them"
            )
        for written in captions:
            yield from (written["text"], *written["negatives"])
        truth = cut.custom.get("truth") or {}
        if facts_of(truth):
            variants = caption_variants(truth, cut.id, num_positives=MAX_VARIANTS, num_negatives=0)
            yield from (variant.text for variant in variants)


def read_vocabulary(corpus: str | Path) -> dict[str, Any] | None:
    """What the corpus' words can say, by which thoughts and captions are judged; None where it does not tell.

    Raises:
        UserError: `vocabulary.json` is not JSON.
    """
    if VOCABULARY not in file_sizes(str(corpus)):
        return None
    place = f"{str(corpus).rstrip('/')}/{VOCABULARY}"
    try:
        vocabulary: dict[str, Any] = json.loads(read_bytes(place))
    except json.JSONDecodeError as error:
        raise UserError(f"{place}:{error.lineno}: expected JSON, got {error.msg}: make the corpus again") from error
    return vocabulary
