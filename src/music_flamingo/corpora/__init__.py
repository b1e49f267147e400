"""Corpora of songs and what is said about them: how they are read, and one that anyone can make."""
