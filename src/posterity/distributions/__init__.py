"""Distributions over θ, and priors made of them."""
