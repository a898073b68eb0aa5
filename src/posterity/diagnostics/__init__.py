"""Whether a fit can be trusted, and what it found."""
