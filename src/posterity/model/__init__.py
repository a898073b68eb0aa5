"""Models, and what inference asks of them."""
