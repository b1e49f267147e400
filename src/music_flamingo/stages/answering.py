"""What every stage with a language model shares: answering the held-out questions.

`music-flamingo test` lets the model answer the test rows and writes `predictions.jsonl` below the run's folder, one
line per completion, for `music-flamingo report`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.evaluation.scoring import CompletionMode, score_completion
from music_flamingo.models import MusicLanguageModel
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.rewards import WeightedReward
from music_flamingo.rollout import Completion, RolloutEngine, SamplingParameters, SharedEngine
from music_flamingo.rollout.rows import on_other_songs
from music_flamingo.stages.optimization import CosineSchedule, OptimizerCallable, Schedule
from music_flamingo.stages.training_stage import TrainingStage


@dataclass(frozen=True)
class EvaluationPass:
    """One way of letting the model answer the held-out questions.

    Args:
        temperature: 0 for greedy answers.
        audio: "own" for each question's song, "other" for another one: what the model says without hearing.
        max_new_tokens: a longer answer is cut.
    """

    temperature: float = 0.0
    audio: Literal["own", "other"] = "own"
    max_new_tokens: int = 96


class _Style(Protocol):
    """How the test rows were asked: `think` wants thoughts before the answer."""

    think: bool


class QuestionData(Protocol):
    """What a stage reads from the data module whose questions it answers; `vocabulary` is the corpus' own."""

    chat: ConversationFormat
    test_style: _Style
    vocabulary: Mapping[str, Any]


class AnsweringModule(TrainingStage):
    """A model that answers questions about songs.

    Args:
        model: the music-language model.
        optimizer: called with the trainable parameters. Recipes write it as class_path and init_args.
        freeze: regular expressions over parameter names; those parameters stay as they are.
        schedule: of the learning rate.
        evaluation: how `music-flamingo test` lets the model answer.
        rewards: scored with each answer, and trained by stages that reinforce.

    Raises:
        UserError: an expression in `freeze` matches no parameter.
    """

    model: MusicLanguageModel

    def __init__(
        self,
        model: MusicLanguageModel,
        optimizer: OptimizerCallable,
        freeze: Sequence[str] = (),
        schedule: Schedule = CosineSchedule(),  # noqa: B008  holds one number
        evaluation: Sequence[EvaluationPass] = (),
        rewards: Sequence[WeightedReward] = (),
    ) -> None:
        super().__init__(model, optimizer, schedule, freeze)
        self.evaluation = tuple(evaluation)
        self.rewards = tuple(rewards)
        self.engine: RolloutEngine = SharedEngine()
        self.generator: torch.Generator | None = None

    @property
    def data(self) -> QuestionData:
        """The trainer's data module."""
        trainer: Any = self.trainer  # Lightning does not declare the attribute
        data: QuestionData = trainer.datamodule
        return data

    @property
    def chat(self) -> ConversationFormat:
        """The data module's `ConversationFormat`."""
        return self.data.chat

    def on_test_start(self) -> None:
        folder = Path(self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._predictions: IO[str] = _predictions_part(folder, self.global_rank).open("w", encoding="utf-8")
        self.generator = torch.Generator(self.device).manual_seed(self.global_rank)

    def test_step(self, batch: PackedBatch, batch_idx: int) -> None:
        rows = {"own": batch, "other": on_other_songs(batch, self.model.audio_token_id)}
        heard: dict[str, Tensor | None] = {}
        for way in self.evaluation:
            row = rows[way.audio]
            if way.audio not in heard:
                heard[way.audio] = self._encode(row)
            sampling = SamplingParameters(way.max_new_tokens, way.temperature)
            for completion in self.sample(row, sampling, heard[way.audio]):
                self._write(self.prediction(batch, completion, way))

    def on_test_end(self) -> None:
        """Join what the ranks wrote."""
        self._predictions.close()
        trainer: Any = self.trainer
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            parts = [_predictions_part(folder, rank) for rank in range(trainer.world_size)]
            count = _join(parts, folder / "predictions.jsonl")
            print(f"{count} answers in {folder / 'predictions.jsonl'}")

    @torch.no_grad()
    def sample(self, row: PackedBatch, sampling: SamplingParameters, audio: Tensor | None = None) -> list[Completion]:
        """Completions of all prompts of a row; `audio` (A, D') saves encoding it again."""
        if not row.prompts():
            return []
        audio = self._encode(row) if audio is None else audio
        return self.engine.sample(self.model, row, audio, sampling, self.chat.end_of_turn, self.generator)

    def prediction(self, batch: PackedBatch, completion: Completion, way: EvaluationPass) -> dict[str, Any]:
        """One line of predictions.jsonl."""
        example = batch.examples[completion.prompt]
        conversation, custom = example["conversation"], example["custom"]
        text = self.chat.decode(completion.token_ids)
        mode: CompletionMode = "think" if self.data.test_style.think else "direct"
        return {
            "stage": Path(self.trainer.default_root_dir).name,
            "step": self.weights_step,
            "cut": example["cut"],
            "piece": custom["piece"],
            "conversation": conversation["id"],
            "question_name": conversation["question_name"],
            "form": conversation["form"],
            "question": conversation["question"],
            "options": conversation.get("options"),
            "mode": mode,
            "audio": way.audio,
            "decoding": "sampled" if way.temperature else "greedy",
            "temperature": way.temperature,
            "completion": text,
            "truth": conversation["answer"],
            **score_completion(text, conversation, custom, self.data.vocabulary, self.rewards, mode),
            "num_tokens": len(completion.token_ids),
            "finished": completion.finished,
            "entropy": float(completion.entropies.mean()),
        }

    @torch.no_grad()
    def _encode(self, row: PackedBatch) -> Tensor | None:
        """(A, D') embeddings of the row's audio."""
        return None if row.audio is None else self.model.encode_audio(row)

    def _write(self, prediction: dict[str, Any]) -> None:
        self._predictions.write(json.dumps(prediction, ensure_ascii=False) + "\n")


def _predictions_part(folder: Path, rank: int) -> Path:
    return folder / f"predictions.{rank}.partial"


def _join(parts: Sequence[Path], whole: Path) -> int:
    """Make one file of several, which go, and count its lines."""
    with parts[0].open("a", encoding="utf-8") as joined:
        for part in parts[1:]:
            joined.write(part.read_text(encoding="utf-8"))
            part.unlink()
    with parts[0].open(encoding="utf-8") as lines:
        count = sum(1 for _ in lines)
    parts[0].replace(whole)
    return count
