"""Chain-of-thought warm-up: supervised fine-tuning on thoughts and answers, watched by whether samples keep the format.

Input   `music_flamingo.batch.PackedBatch`, answers written as `<think> ... </think> ... <answer> ... </answer>`
Trains  whatever `freeze` does not name
Logs    as `sft`, and val/rewards/<name>, val/entropy of sampled completions
Source  Music Flamingo (arXiv:2511.10289), MF-WarmUp
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from music_flamingo.batch import PackedBatch
from music_flamingo.rollout import SamplingParameters
from music_flamingo.rollout.rows import without_answers
from music_flamingo.stages.answering import EvaluationPass
from music_flamingo.stages.sft import SFTModule


class WarmupModule(SFTModule):
    """`SFTModule` that also samples in validation.

    Args:
        *given: as `SFTModule` takes them, and so named ones.
        max_new_tokens: of a sample in validation; a longer one is cut, and has no answer.
        **named: those.
    """

    def __init__(self, *given: Any, max_new_tokens: int = 96, **named: Any) -> None:
        super().__init__(*given, **named)
        self.max_new_tokens = max_new_tokens

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        row = without_answers(batch, self.model.audio_token_id)
        way = EvaluationPass(temperature=1.0)
        completions = self.sample(row, SamplingParameters(self.max_new_tokens))
        scored = [self.prediction(row, completion, way) for completion in completions]
        for weighted in self.rewards:
            name = weighted.reward.name
            self._log_mean(f"val/rewards/{name}", [prediction["rewards"].get(name) for prediction in scored])
        self._log_mean("val/entropy", [prediction["entropy"] for prediction in scored])

    def _log_mean(self, name: str, values: Sequence[float | None]) -> None:
        """Log the mean of what there is; also nothing, as the ranks wait for one another at every name."""
        known = [value for value in values if value is not None]
        self.log(name, fmean(known) if known else 0.0, batch_size=len(known), sync_dist=True)
