"""Is a song at hand when training wants it? One script per claim, each against what people use today, side by side."""
