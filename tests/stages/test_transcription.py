import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.errors import UserError
from music_flamingo.evaluation.prediction import read_predictions
from music_flamingo.models import MusicFlamingo
from music_flamingo.rollout import Completion
from music_flamingo.stages import EvaluationPass, TranscriptionModule
from tests.builders import chat, model_directory, quiet_trainer, write_corpus, write_transcripts

ADAM = partial(torch.optim.AdamW, lr=3e-3)
HEARD = {"en": "fast yes", "zh": "fyes"}
"""What the model is made to write; the texts of the corpus are "yes fast fast" and "yes"."""


class Heard:
    """An engine that writes what it is told, by the language of the question."""

    def sample(self, model: Any, batch: Any, audio: Any, *_: Any) -> list[Completion]:
        texts = {p: HEARD.get(batch.examples[p]["conversation"].get("language", ""), "no") for p in batch.prompts()}
        ids = {prompt: torch.tensor(chat().answer_ids(text)) for prompt, text in texts.items()}
        return [Completion(p, t, torch.zeros(len(t)), torch.zeros(len(t)), finished=True) for p, t in ids.items()]


@pytest.fixture(scope="module")
def transcribed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), train=4, held_out=2)
    return write_transcripts(corpus, {"en": "yes fast fast", "zh": "yes"})


def data(corpus: Path, *questions: str) -> ConversationDataModule:
    return ConversationDataModule(
        str(corpus), str(model_directory()), DirectAnswers(questions or None), max_duration=20, questions_per_song=None
    )


def stage(**settings: Any) -> TranscriptionModule:
    module = TranscriptionModule(MusicFlamingo(str(model_directory())), ADAM, **settings)
    module.engine = Heard()
    return module


def test_validation_logs_errors_over_lengths_of_each_language(transcribed: Path, tmp_path: Path) -> None:
    """ "yes fast fast" / "fast yes": one more in front and two missing, or three changed: 2 of 3 words at best."""
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=1.0, val_check_interval=1)
    trainer.fit(stage(), data(transcribed, "transcription", "drums"))
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if "er/" in name}
    assert logged == {
        "val/wer/en": pytest.approx(2 / 3),
        "val/wer/en_inserted": 0.0,
        "val/cer/zh": pytest.approx(1 / 3),
        "val/cer/zh_inserted": pytest.approx(1 / 3),
    }
    assert trainer.callback_metrics["val/loss"] > 0


def test_the_loss_falls_on_transcripts(transcribed: Path, train: Callable[..., Trainer]) -> None:
    module, losses = stage(), []
    step = module.training_step
    module.training_step = lambda *args: losses.append(step(*args)) or losses[-1]  # type: ignore[method-assign, func-returns-value]
    train(module, data(transcribed, "transcription"), max_steps=8)
    assert losses[-1] < 0.7 * losses[0]


def test_test_writes_errors_beside_each_transcript_and_no_verdict(transcribed: Path, tmp_path: Path) -> None:
    module = stage(evaluation=[EvaluationPass(), EvaluationPass(audio="other")])
    trainer = quiet_trainer(tmp_path / "1_transcription", limit_test_batches=1.0)
    trainer.test(module, data(transcribed, "transcription", "drums"), verbose=False)
    path = tmp_path / "1_transcription" / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(read_predictions(path)) == len(rows)
    counts = {"errors": 2, "inserted": 0, "length": 3}
    english = [row for row in rows if row.get("transcript", {}).get("language") == "en"]
    assert [row["transcript"] for row in english] == [{"language": "en", "unit": "word", **counts}] * 4
    assert {(row["correct"], row["why"]) for row in english} == {(None, "2 errors in 3 words")}
    assert all(isinstance(row["correct"], bool) for row in rows if row["question_name"] == "drums")
    assert trainer.callback_metrics["test/wer/en"] == pytest.approx(2 / 3)


def test_a_transcript_without_a_language_is_refused_before_anything_is_heard(tmp_path: Path) -> None:
    corpus = write_transcripts(write_corpus(tmp_path / "corpus", train=2, held_out=1), {"": "yes"})
    module = stage()
    with pytest.raises(UserError, match=r"^cut val-0, conversation val-0-spoken-: expected `language`"):
        quiet_trainer(tmp_path, max_steps=1).fit(module, data(corpus))
    assert module.model.windows_encoded == 0
