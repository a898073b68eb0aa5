"""What exists for speed on CPUs alone."""
