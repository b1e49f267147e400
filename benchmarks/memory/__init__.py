"""How much memory training takes, measured, beside what `music-flamingo plan` says."""
