"""Training stages, one LightningModule each."""

from music_flamingo.stages.answering import EvaluationPass
from music_flamingo.stages.contrastive import ContrastiveModule
from music_flamingo.stages.grpo import GRPOModule
from music_flamingo.stages.optimization import ConstantSchedule, CosineSchedule
from music_flamingo.stages.sft import SFTModule
from music_flamingo.stages.tagging import TaggingModule
from music_flamingo.stages.transcription import TranscriptionModule
from music_flamingo.stages.warmup import WarmupModule

__all__ = [
    "ConstantSchedule",
    "ContrastiveModule",
    "CosineSchedule",
    "EvaluationPass",
    "GRPOModule",
    "SFTModule",
    "TaggingModule",
    "TranscriptionModule",
    "WarmupModule",
]
