"""Claims of speed and memory, each measured against what people use today."""
