"""Sampling engines: completions and their log-probabilities from a batch of prompts."""

from music_flamingo.rollout.hf import HFEngine
from music_flamingo.rollout.sampling import Completion, RolloutEngine, SamplingParameters
from music_flamingo.rollout.shared import SharedEngine

__all__ = ["Completion", "HFEngine", "RolloutEngine", "SamplingParameters", "SharedEngine"]
