"""The closed lists of words that a corpus can say, as the corpus wrote them into `vocabulary.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from music_flamingo.errors import UserError

Vocabulary = str | Path | Mapping[str, Any]
"""A JSON file or its content: {"fields": {field: [value]}, "steps": {field: {"template", "values"}}}."""


def read_vocabulary(vocabulary: Vocabulary, key: str, owner: str) -> Mapping[str, Any]:
    """One part of a vocabulary.

    Args:
        vocabulary: path of the file, or its content.
        key: the part, "fields" or "steps".
        owner: who asks, for the error message.

    Raises:
        UserError: the file is missing, is no JSON object, or lacks the part.
    """
    source = "the given mapping" if isinstance(vocabulary, Mapping) else str(vocabulary)
    content = vocabulary if isinstance(vocabulary, Mapping) else _load(Path(vocabulary), owner)
    part = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(part, Mapping):
        raise UserError(
            f'{owner}: expected a JSON object with the key "{key}" in {source}; '
            "use the vocabulary.json that lies beside the corpus' cuts"
        )
    return part


def _load(path: Path, owner: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{owner}: cannot read the vocabulary {path}: {error.strerror}; make the corpus first"
        ) from error
    except ValueError as error:
        raise UserError(f"{owner}: the vocabulary {path} is not JSON: {error}; make the corpus again") from error
