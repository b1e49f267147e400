"""Published datasets in and out: each format is one file that reads records, and all else is shared."""
