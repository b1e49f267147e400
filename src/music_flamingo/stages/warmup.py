"""Chain-of-thought warm-up: supervised fine-tuning on thoughts and answers, watched by whether samples keep the format.

Input   `music_flamingo.batch.PackedBatch`, answers written as `<think> ... </think> ... <answer> ... </answer>`
Trains  whatever `freeze` does not name
Logs    as `sft`, and val/rewards/<name>, val/entropy of sampled completions
Source  Music Flamingo (arXiv:2511.10289), MF-WarmUp
"""

from music_flamingo.batch import PackedBatch
from music_flamingo.rollout import SamplingParameters
from music_flamingo.rollout.rows import without_answers
from music_flamingo.stages.answering import EvaluationPass
from music_flamingo.stages.sft import SFTModule


class WarmupModule(SFTModule):
    """`SFTModule` that also samples in validation."""

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        row = without_answers(batch, self.model.audio_token_id)
        completions = self.sample(row, SamplingParameters())
        for completion in completions:
            scored = self.prediction(row, completion, EvaluationPass(temperature=1.0))
            for name, reward in scored["rewards"].items():
                if reward is not None:
                    self.log(f"val/rewards/{name}", reward, batch_size=1, sync_dist=True)
            self.log("val/entropy", scored["entropy"], batch_size=1, sync_dist=True)
