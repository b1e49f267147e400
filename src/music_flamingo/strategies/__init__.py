"""Ways to divide training over devices."""

from music_flamingo.strategies.context_parallel import ContextParallel
from music_flamingo.strategies.fully_sharded import FullySharded
from music_flamingo.strategies.zero import ZeRO

__all__ = ["ContextParallel", "FullySharded", "ZeRO"]
