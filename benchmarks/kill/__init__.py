"""Training runs that are killed, and what they lose by it."""
