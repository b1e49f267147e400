"""The corpus a run learned from, as far as the report needs it: held-out clips, and what training asked."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from music_flamingo.evaluation.baselines import AskedQuestion, asked_questions


@dataclass(frozen=True)
class CorpusFolder:
    """A corpus made by `music-flamingo`: manifests, settings and the words its answers use.

    Args:
        settings: `corpus.json` as written.
        fields: closed value lists by metadata field, from `vocabulary.json`; empty when the file is missing.
        test_cuts: held-out cuts by id; recordings resolve to files.
    """

    folder: Path
    settings: dict[str, Any]
    fields: dict[str, list[str]]
    test_cuts: dict[str, Cut]

    @cached_property
    def train_questions(self) -> list[AskedQuestion]:
        """Every question of the training split with the clip's attributes."""
        songs = open_songs(self.folder, "train")
        return [question for cut in songs for question in asked_questions(cut.custom or {})]

    @cached_property
    def test_questions(self) -> dict[str, AskedQuestion]:
        """Questions of the held-out split by conversation id."""
        questions = (question for cut in self.test_cuts.values() for question in asked_questions(cut.custom or {}))
        return {question.conversation: question for question in questions}

    def observed(self, cut_id: str) -> dict[str, str]:
        """What can be noted about a held-out cut: value by field; empty for an unknown cut."""
        cut = self.test_cuts.get(cut_id)
        observations = (cut.custom or {}).get("observations", ()) if cut is not None else ()
        return {each["field"]: each["value"] for each in observations}


def read_corpus(folder: Path) -> CorpusFolder:
    """Open a corpus folder; the training manifest is read when first asked for.

    Raises:
        UserError: the folder or one of its files is missing or cannot be parsed.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such corpus folder (recipe field data.init_args.corpus); run the report from "
            "the folder the training was started in"
        )
    test_cuts = {cut.id: cut for cut in open_songs(folder, "test")}
    vocabulary = _read_json(folder / "vocabulary.json")
    return CorpusFolder(folder, _read_json(folder / "corpus.json"), vocabulary.get("fields", {}), test_cuts)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, {error}; make the corpus again") from error
    return record
