"""What is in a corpus, what is wrong with it, and what of it stands in a benchmark."""
