"""Data: what is handed out in batches, and where example data come from."""
