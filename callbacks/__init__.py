"""Lightning callbacks: curriculum, global batch, GRPO sampling, checkpoints, ledger, samples, throughput, export."""

from music_flamingo.callbacks.best_checkpoint import BestCheckpoint
from music_flamingo.callbacks.curriculum import Curriculum, Lesson
from music_flamingo.callbacks.global_batch import GlobalBatch
from music_flamingo.callbacks.grpo_sampling import GRPOSampling
from music_flamingo.callbacks.hf_export import HFExport
from music_flamingo.callbacks.ledger import Ledger
from music_flamingo.callbacks.preemption import Preemption
from music_flamingo.callbacks.rolling_checkpoint import RollingCheckpoint
from music_flamingo.callbacks.sample_logger import SampleLogger
from music_flamingo.callbacks.step_profiler import StepProfiler
from music_flamingo.callbacks.step_seeds import StepSeeds
from music_flamingo.callbacks.throughput import ThroughputMonitor

__all__ = [
    "BestCheckpoint",
    "Curriculum",
    "GRPOSampling",
    "GlobalBatch",
    "HFExport",
    "Ledger",
    "Lesson",
    "Preemption",
    "RollingCheckpoint",
    "SampleLogger",
    "StepProfiler",
    "StepSeeds",
    "ThroughputMonitor",
]
