"""How posteriors are written and read."""
