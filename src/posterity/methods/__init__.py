"""Inference methods: each turns a target and data into a distribution over θ."""
