"""Predictions, and where their uncertainty comes from."""
