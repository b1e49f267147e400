"""Lightning callbacks: curriculum, GRPO sampling, samples to listen to, throughput, export; and a profiler."""

from music_flamingo.callbacks.curriculum import Curriculum, Lesson
from music_flamingo.callbacks.grpo_sampling import GRPOSampling
from music_flamingo.callbacks.hf_export import HFExport
from music_flamingo.callbacks.sample_logger import SampleLogger
from music_flamingo.callbacks.step_profiler import StepProfiler
from music_flamingo.callbacks.throughput import ThroughputMonitor

__all__ = ["Curriculum", "GRPOSampling", "HFExport", "Lesson", "SampleLogger", "StepProfiler", "ThroughputMonitor"]
