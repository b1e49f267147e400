"""Asks a trained model, scores what it answered and writes the report of a run."""
