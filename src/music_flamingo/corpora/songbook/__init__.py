"""Songbook: a corpus anyone can make offline, of real scores whose answers are true by construction."""
