"""Lightning callbacks: curriculum, GRPO sampling, samples to listen to, throughput, export."""

from music_flamingo.callbacks.curriculum import Curriculum, Lesson
from music_flamingo.callbacks.grpo_sampling import GRPOSampling
from music_flamingo.callbacks.hf_export import HFExport
from music_flamingo.callbacks.sample_logger import SampleLogger
from music_flamingo.callbacks.throughput import ThroughputMonitor

__all__ = ["Curriculum", "GRPOSampling", "HFExport", "Lesson", "SampleLogger", "ThroughputMonitor"]
