"""Transcription: supervised fine-tuning on what is said or sung, watched by how much of a transcript is wrong.

Speech in many languages, several talkers at once and lyrics; other questions may be among them and are trained alike.

Input   `music_flamingo.batch.PackedBatch`; conversations as `evaluation.transcription.Transcript` reads them
Trains  whatever `freeze` does not name
Logs    as `sft`, and val/wer/<language>, or val/cer/<language> where words are not separated by spaces, and the share
        of it that was inserted, val/wer/<language>_inserted; test/... likewise
Source  Music Flamingo (arXiv:2511.10289), section 3.1; Audio Flamingo 3 (arXiv:2507.08128), table 12, for the order of
        what trains: projector, encoder too, all
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lhotse.cut import Cut

from music_flamingo.batch import PackedBatch
from music_flamingo.evaluation.transcription import Errors, Transcript, Unit, languages_of, rate_name
from music_flamingo.rollout import Completion, SamplingParameters
from music_flamingo.rollout.rows import without_answers
from music_flamingo.stages.answering import EvaluationPass
from music_flamingo.stages.sft import SFTModule


class TranscriptionModule(SFTModule):
    """`SFTModule` that also transcribes, greedily, in validation.

    Args:
        *given: as `SFTModule` takes them, and so named ones.
        max_new_tokens: of a transcript in validation; a longer one is cut.
        **named: those.
    """

    def __init__(self, *given: Any, max_new_tokens: int = 256, **named: Any) -> None:
        super().__init__(*given, **named)
        self.max_new_tokens = max_new_tokens
        self._languages: dict[str, dict[str, Unit]] = {}
        self._errors: defaultdict[str, Errors] = defaultdict(Errors)

    def setup(self, stage: str) -> None:
        """Find out which languages there will be: ranks wait for one another at every name they log."""
        super().setup(stage)
        trainer: Any = self.trainer  # Lightning does not declare the attribute
        cuts: Mapping[str, Iterable[Cut]] = trainer.datamodule.cuts
        self._languages = {split: languages_of(_transcripts(cuts[split])) for split in cuts}

    def on_validation_epoch_start(self) -> None:
        self._errors.clear()

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        row = without_answers(batch, self.model.audio_token_id)
        for completion in self.sample(row, SamplingParameters(self.max_new_tokens, temperature=0.0)):
            self._count(row, completion)

    def on_validation_epoch_end(self) -> None:
        self._log_rates("val")

    def on_test_start(self) -> None:
        super().on_test_start()
        self._errors.clear()

    def prediction(self, batch: PackedBatch, completion: Completion, way: EvaluationPass) -> dict[str, Any]:
        """One line of predictions.jsonl, that of a transcript with `transcript`: its language, unit and errors."""
        line = super().prediction(batch, completion, way)
        counted = way.audio == "own" and not way.temperature
        transcript, errors = self._compared(batch, completion)
        if transcript is None:
            return line
        if counted:
            self._errors[transcript.language] += errors
        kinds = {"language": transcript.language, "unit": transcript.unit}
        counts = {"errors": errors.total, "inserted": errors.inserted, "length": errors.length}
        why = f"{errors.total} errors in {errors.length} {transcript.unit}s"
        return {**line, "correct": None, "why": why, "transcript": kinds | counts}

    def on_test_epoch_end(self) -> None:
        self._log_rates("test")

    def _count(self, row: PackedBatch, completion: Completion) -> None:
        transcript, errors = self._compared(row, completion)
        if transcript is not None:
            self._errors[transcript.language] += errors

    def _compared(self, row: PackedBatch, completion: Completion) -> tuple[Transcript | None, Errors]:
        example = row.examples[completion.prompt]
        transcript = Transcript.of_conversation(example["conversation"], example["cut"])
        if transcript is None:
            return None, Errors()
        return transcript, transcript.errors(self.chat.decode(completion.token_ids))

    def _log_rates(self, split: str) -> None:
        """Errors of all ranks over the lengths of all ranks; nothing of a language that no rank heard."""
        trainer: Any = self.trainer
        for language, unit in self._languages[split].items():
            errors = self._errors[language]
            counts = torch.tensor([errors.total, errors.inserted, errors.length], device=self.device)
            total, inserted, length = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
            if length:
                name = f"{split}/{rate_name(language, unit)}"
                self.log_dict({name: total / length, f"{name}_inserted": inserted / length}, sync_dist=True)


def _transcripts(cuts: Iterable[Cut]) -> Iterable[Transcript]:
    """Those that are asked for.

    Raises:
        UserError: one does not say its language, or holds no word.
    """
    asked = (Transcript.of_conversation(each, cut.id) for cut in cuts for each in cut.custom["conversations"])
    return (transcript for transcript in asked if transcript is not None)
