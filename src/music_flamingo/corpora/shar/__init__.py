"""Corpora stored as lhotse Shar: cuts in JSON lines beside audio in tar files, in shards."""
