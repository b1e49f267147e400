"""Lightning callbacks: curriculum, GRPO sampling, checkpoints, a ledger, samples to listen to, throughput, export."""

from music_flamingo.callbacks.curriculum import Curriculum, Lesson
from music_flamingo.callbacks.grpo_sampling import GRPOSampling
from music_flamingo.callbacks.hf_export import HFExport
from music_flamingo.callbacks.ledger import Ledger
from music_flamingo.callbacks.rolling_checkpoint import RollingCheckpoint
from music_flamingo.callbacks.sample_logger import SampleLogger
from music_flamingo.callbacks.step_profiler import StepProfiler
from music_flamingo.callbacks.step_seeds import StepSeeds
from music_flamingo.callbacks.throughput import ThroughputMonitor

__all__ = [
    "Curriculum",
    "GRPOSampling",
    "HFExport",
    "Ledger",
    "Lesson",
    "RollingCheckpoint",
    "SampleLogger",
    "StepProfiler",
    "StepSeeds",
    "ThroughputMonitor",
]
