"""Which tokens the embedding rows of a published checkpoint stand for: those of its language model's own directory."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from music_flamingo.errors import UserError


def published_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory, read without running anything that is in it.

    Raises:
        UserError: there is none.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"tokenizer: expected a directory with tokenizer.json, but {path} does not exist")
    # tokenizers raises bare exceptions, so what an unfinished download leaves is found before it reads it.
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"tokenizer: expected JSON in {path}, got {error}: download it again") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not {"vocab", "merges"} <= model.keys():
        raise UserError(f"tokenizer: expected a BPE model with vocab and merges in {path}, got none: give another")
    return Tokenizer.from_str(text)


def with_tokens(tokenizer: Tokenizer, added: Sequence[str], end: str, padding: str) -> PreTrainedTokenizerFast:
    """For transformers' processors.

    Args:
        tokenizer: of the language model.
        added: tokens that get the next ids, in this order, where it has them not yet.
        end: of an answer.
        padding: between texts of different lengths.
    """
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, pad_token=padding, clean_up_tokenization_spaces=False
    )


def require_tokens(tokenizer: Tokenizer, needed: Sequence[str]) -> None:
    """Whether it has these tokens.

    Raises:
        UserError: not so.
    """
    missing = [token for token in needed if tokenizer.token_to_id(token) is None]
    if missing:
        raise UserError(
            f"tokenizer: expected the tokens {', '.join(needed)}, got none named {', '.join(missing)}: give the "
            "directory of the checkpoint's own language model"
        )


def require_rows(tokenizer: PreTrainedTokenizerFast, rows: int) -> None:
    """Whether each token has a row of the embedding.

    Raises:
        UserError: not so.
    """
    if len(tokenizer) > rows:
        raise UserError(
            f"tokenizer: expected at most {rows} tokens, the checkpoint's embedding rows, got {len(tokenizer)}: give "
            "the directory of the checkpoint's own language model"
        )
